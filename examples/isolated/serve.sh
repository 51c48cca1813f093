# Counts its starts in the volume, changes its copy of the workspace, and serves a page until the run is stopped.
starts=$(($(cat /state/starts 2>/dev/null || echo 0) + 1))
echo "$starts" >/state/starts
mkdir site
cp /public/index.html site/
echo "<p>start number $starts</p>" >>site/index.html
echo "serving, start number $starts"
exec httpd -f -p 8000 -h site
