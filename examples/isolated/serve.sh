# Counts its starts in the volume, works on its copy, and serves it until somebody stops it.
starts=$(($(cat /state/starts 2>/dev/null || echo 0) + 1))
echo "$starts" >/state/starts
mkdir site
cp /public/index.html site/
echo "<p>start number $starts</p>" >>site/index.html
echo "serving, start number $starts"
exec httpd -f -p 8000 -h site
