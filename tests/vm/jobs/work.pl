# SPDX-License-Identifier: Apache-2.0
# Hashes, regular expressions, sorting and digests, with known answers. Adds a line per round to its output
# until there is a file named "stop".
use strict;
use warnings;
use Digest::SHA;

$| = 1;
my $bad = sub { print "BAD work.pl: $_[0]\n"; exit 3 };
my $n = 0;
my $first;
until (-e 'stop') {
	$n++;
	my %h = map { ("k$_" => $_ * $_) } 1 .. 800;
	my $sum = 0;
	$sum += $h{$_} for sort keys %h;
	$bad->('sum') unless $sum == 800 * 801 * 1601 / 6;
	my $text = join ' ', map { "a${_}b" . $_ * 3 } 1 .. 400;
	my @found = $text =~ /a\d+b(\d+)/g;
	$bad->('regular expression') unless @found == 400 && $found[399] == 1200;
	(my $other = $text) =~ tr/a-z/b-za/;
	$bad->('tr') unless index($other, 'b400c1200') > 0;
	my $digest = Digest::SHA::sha256_hex($text);
	$first //= $digest;
	$bad->('digest') unless $digest eq $first && Digest::SHA::sha256_hex('abc') =~ /^ba7816bf8f01cfea/;
	$bad->('sprintf') unless sprintf('%08.3f|%-5s|%x', 3.14159, 'ab', 48879) eq '0003.142|ab   |beef';
	print "iter $n\n";
}
print "right\n";
