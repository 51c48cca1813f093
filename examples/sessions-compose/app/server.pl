# Counts visits in the database.
use strict;
use warnings;
use IO::Socket::INET;

my $server = IO::Socket::INET->new(LocalPort => 8000, Listen => 9, ReuseAddr => 1) or die "no port 8000\n";
while (my $client = $server->accept) {
    while (defined(my $line = <$client>)) { last if $line =~ /^\r?$/ }
    my $db = IO::Socket::INET->new(PeerAddr => 'db:6379') or die "no database\n";
    print $db "INCR visits\r\n";
    my ($count) = <$db> =~ /(\d+)/;
    my $branch = $ENV{BRANCH};
    print $client "HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\nhello from $branch: visit $count\n";
    close $client;
}
