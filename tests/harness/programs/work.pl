# Hashes, regular expressions, closures, a fork and files, with a deterministic result.
use strict;
use warnings;
use Digest::MD5;

my $md5 = Digest::MD5->new;
my %count;
my $x = 1;
my $next = sub { return $x = ($x * 1103515245 + 12345) % 2147483648 };
open(my $out, '>', 'work.txt') or die;
$| = 0;
for my $round (1 .. 280) {
	my $text = join ' ', map { sprintf '%x', $next->() } 1 .. 4000;
	$count{$1}++ while $text =~ /([0-9a-f]{3})\b/g;
	$text =~ s/(\d+)([a-f]+)/$2$1/g;
	$md5->add($text, scalar keys %count);
	print $out "$round ", length($text), "\n";
	if ($round % 40 == 0) {
		my $pid = fork // die;
		exit 7 unless $pid;
		waitpid $pid, 0;
		die unless $? >> 8 == 7;
	}
	my $sum = 0;
	$sum += $count{$_} for sort keys %count;
	$md5->add($sum);
}
close $out or die;
print $md5->hexdigest, "\n";
