# Puts an ARC set by Mail::DKIM on a message: a JSON question on standard input, the message in base64 on standard output.
use strict;
use warnings;

my $now;
BEGIN { *CORE::GLOBAL::time = sub { defined $now ? $now : CORE::time() } }

use JSON::PP;
use MIME::Base64;
use Mail::DKIM::ARC::Signer;
use Mail::DKIM::PrivateKey;

local $/;
my $question = decode_json(<STDIN>);
$now = $question->{now};
my $message  = decode_base64($question->{message});
my $signer   = Mail::DKIM::ARC::Signer->new(
    Algorithm => 'rsa-sha256',
    Chain     => $question->{chain},
    Domain    => $question->{domain},
    SrvId     => $question->{domain},
    Selector  => $question->{selector},
    Key       => Mail::DKIM::PrivateKey->load(Data => $question->{key}),
);
$signer->PRINT($message);
$signer->CLOSE();
die $signer->result_detail() unless $signer->result() eq 'sealed';
print encode_base64(join('', map { "$_\015\012" } $signer->as_strings()) . $message);
