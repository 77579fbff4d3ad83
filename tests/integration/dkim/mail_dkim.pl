# Asks Mail::DKIM about messages: a JSON question on standard input, a JSON array of results on standard output.
use strict;
use warnings;

my $now;
BEGIN { *CORE::GLOBAL::time = sub { defined $now ? $now : CORE::time() } }

use JSON::PP;
use MIME::Base64;
use Mail::DKIM::ARC::Verifier;
use Mail::DKIM::Verifier;

package FakeRecord {
    sub new     { my ($class, $text) = @_; return bless { text => $text }, $class }
    sub type    { return 'TXT' }
    sub txtdata { my ($self) = @_; return ($self->{text}) }
}

local $/;
my $question = decode_json(<STDIN>);
$now = $question->{now};

no warnings 'redefine';
*Mail::DKIM::DNS::query_async = sub {
    my ($name, $type, %options) = @_;
    my $text    = $question->{records}{$name};
    my @records = defined $text ? (FakeRecord->new($text)) : ();
    my $result  = $options{Callbacks}{Success}->(@records);
    return sub { return $result };
};

my @answers;
for my $encoded (@{ $question->{messages} }) {
    my $class    = $question->{what} eq 'arc' ? 'Mail::DKIM::ARC::Verifier' : 'Mail::DKIM::Verifier';
    my $verifier = $class->new();
    $verifier->PRINT(decode_base64($encoded));
    $verifier->CLOSE();
    if ($question->{what} eq 'arc') {
        push @answers, [ $verifier->result() ];
    }
    else {
        push @answers, [ map { $_->result() } $verifier->signatures() ];
    }
}
print encode_json(\@answers);
