<?php
// Writes dotenv.json: .env files and the variables that vlucas/phpdotenv, which
// is what Laravel uses, reads from them. The argument is an autoloader that
// finds phpdotenv 5.6 or later, such as vendor/autoload.php of a Laravel project:
//
//	php dotenv.php vendor/autoload.php > dotenv.json

require $argv[1];

use Dotenv\Dotenv;
use Dotenv\Exception\InvalidFileException;
use Dotenv\Repository\Adapter\AdapterInterface;
use Dotenv\Repository\RepositoryBuilder;
use PhpOption\Option;
use PhpOption\Some;

const PROCESS = ['VAULT' => 'from the process', 'NOTHING' => '', 'LATER' => 'process'];

// Variables is an environment. What load() returns would not do: it numbers the
// variables anew whose names are numbers.
final class Variables implements AdapterInterface
{
    public array $values = PROCESS;

    public static function create(): Option
    {
        return Some::create(new self());
    }

    public function read(string $name): Option
    {
        return Option::fromArraysValue($this->values, $name);
    }

    public function write(string $name, string $value): bool
    {
        $this->values[$name] = $value;
        return true;
    }

    public function delete(string $name): bool
    {
        unset($this->values[$name]);
        return true;
    }
}

// read returns the variables of the file, without those of the process, or null
// for one that phpdotenv refuses.
function read(string $file): ?array
{
    $variables = new Variables();
    $repository = RepositoryBuilder::createWithNoAdapters()->addAdapter($variables)->immutable()->make();
    $path = tempnam(sys_get_temp_dir(), 'dotenv');
    file_put_contents($path, $file);
    try {
        Dotenv::create($repository, dirname($path), basename($path))->load();
        return array_diff_key($variables->values, PROCESS);
    } catch (InvalidFileException) {
        return null;
    } finally {
        unlink($path);
    }
}

// outcome tells bytes that are not UTF-8 in base64, and also a double quote that stays open to the end, from where on
// phpdotenv ignores the file in silence: no line after it is read.
function outcome(string $file): array
{
    $given = mb_check_encoding($file, 'UTF-8') ? ['file' => $file] : ['bytes' => base64_encode($file)];
    $values = read($file);
    if ($values === null) {
        return $given + ['refused' => true];
    }
    if (!array_key_exists('THE_END', read($file . "\nTHE_END=1\n") ?? ['THE_END' => 1])) {
        return $given + ['open' => true];
    }
    return $given + ['values' => (object) $values];
}

$files = [
    '', "\n", "# a comment\n", "  # indented\n", "A=1\nB=2\n", "A=1\r\nB=2\r\n", "A=1\rB=2", "\u{feff}A=1\n", "A=\n", "A= \n", "A", "A \n", "A\nB=1\n", "A=1\nA\n",
    "VAULT\n", "VAULT=file\nB=\${VAULT}\n", "A=1\nA=2\n", 'A=a#b', 'A=a #b', 'A= #b', 'A=#b', 'A=#', 'A=x7$9Kd', 'A="x7$9Kd"', "A='x7\$9Kd'", 'A=$VAULT',
    'A=${VAULT}', 'A="${VAULT}"', "A='\${VAULT}'", 'A="\${VAULT}"', 'A=${NOT_SET}', 'A=${NOTHING}x', 'A=${VAULT', 'A=$${VAULT}', 'A=${}', 'A=${VAULT}${VAULT}',
    "B=VAULT\nA=\${\${B}}", "app_env=x\nA=\"\${app_env}-key\"", "A=\${B}\nB=1\nC=\${B}", "LATER=file\nA=\${LATER}", "a.b=1\nA=\${a.b}", "A='ab\\'", "A='a\\'b'", "A='a\\\\b'",
    'A="a\\"b"', 'A="a\\\\b"', 'A="a\\\\"', 'A="a\\nb\\r\\t\\f\\vc"', 'A="a\\xb"', 'A="a\\\'b"', 'A="\\$VAULT"', 'A="ab\\"', 'A=a\\nb', 'A=a\\b', 'A=\\', 'A=a b', 'A=a  # b', "A=a\t#b",
    'A="a" b', 'A="a"b', 'A="a"#b', 'A="a" #b', "A='a'b", 'A=a"b"', "A=a'b'", 'A=a"', "A=a'", 'A="a', "A='a", "A=\"a\nb\"", "A=\"a\nb\nB=1", "A=\"a\n\"\nB=1", "A=\"a\n\\\"\nb\"\nB=1", "A='a\nb'",
    "A=\"a\r\nb\"", "# B=\"x\nA=1", "# B=\"x\nA=1\n\"\nC=1", "A=\"\nb\n\"", "A=\"\"", "A=''", "A=\"\" ", "A=\"''\"", "A='\"\"'", 'A="""', "A='''", 'A=\'a\' \'b\'',
    'export A=1', 'export AB=1', 'export  AB = 1', "export\tAB=1", 'exportAB=1', 'export=1', 'export AB', ' AB=1', 'AB =1', 'AB= 1', '"AB"=1', "'AB'=1", '"AB\'=1', '""=1', 'A B=1', 'A-B=1', 'A.B=1', 'A1=1', '=1', ' =1', '==', 'A==', 'A=B=C',
    'Ä=1', 'ÄB=${Ä}', 'A=ä', "A=\u{a0}", "A=a\u{a0}b", "A=a\u{2028}b", "A=\x0b", "A=\x0ca", "A=a\x0c#b", "A=\x0ca b", "A=a\x00", '{"A":1}', 'A:1', 'A: 1', "<?php\n", "[x]\nA=1", ';A=1',
    "A=(null)", 'A="(null)"', 'A=null', 'A=true', 'A=base64:AAAA+/==', "A='pa#ss \"word\"'", 'A="{\"a\": [1, 2]}"', 'A={"a":1}', 'A=${A}', "A=1\nA=\${A}\${A}", 'A=`x`', 'A=$(x)', 'A=a&b;c|d', 'A=%20', 'A=~', 'A=*', 'A=a\\ b', 'A="\\ "', 'A="a\\',
];
$alphabet = ['#', '$', '{', '}', '"', "'", '\\', ' ', "\t", "\n", '=', 'export ', '${VAULT}', '${B}', 'a', '9', 'A', 'n', 'ä', "\r\n", 'VAULT', '"', "'"];
mt_srand(20261126);
$random = function (int $most) use ($alphabet): string {
    $s = '';
    for ($n = mt_rand(0, $most); $n > 0; $n--) {
        $s .= $alphabet[mt_rand(0, count($alphabet) - 1)];
    }
    return $s;
};
for ($i = 0; $i < 200; $i++) {
    $value = str_replace(["\r", "\n"], '', $random(10));
    array_push($files, "B=b\nA=$value\nC=c\n", "B=b\nA=\"" . str_replace('"', '', $value) . "\"\nC=c\n", "B=b\nA='" . str_replace("'", '', $value) . "'\nC=c\n");
}
for ($i = 0; $i < 200; $i++) {
    array_push($files, $random(30), 'A=' . $random(10) . "\n" . $random(4) . "=" . $random(10) . "\nC=c\n");
}
// Latin-1, characters that are cut, too long, surrogates or too large, and any mix of their parts.
array_push($files, "A=\xe4\xf6x", "A=\xe4", "\xe4=1\nB=2", "A=\"\xe4\"", "A='\xe4\xf6'#\xfc", "# \xe4\nA=1", "A=\xe2\x82x", "A=\xe2\x82\nB=1", "A=\xf0\x9f\x98", "A=\xc0\x80", "A=\xe0\x80\x80", "A=\xed\xa0\x80", "A=\xf4\x90\x80\x80",
    "A=\xf8\x88\x80\x80\x80", "A=\x80\xbf", "A=\xc3\xc3\xa4", "\xef\xbbA=1", "\xff\xfeA=1", "A\xa0=1", "A=\xa0x", "9=1\n10=2", "9=1\n9", "007=1\n7=2\n-7=3", "9=a\nA=\${9}");
$parts = ["\x80", "\x9f", "\xa0", "\xbf", "\xc1", "\xc3", "\xe0", "\xe2", "\xed", "\xef", "\xf0", "\xf4", "\xf5", "\xff", 'a'];
for ($i = 0; $i < 200; $i++) {
    array_push($files, 'A=a' . implode(array_map(fn () => $parts[mt_rand(0, count($parts) - 1)], range(1, 8))) . "\n9=1");
}
$rows = array_map('outcome', array_values(array_unique($files)));
echo "[\n", implode(",\n", array_map(fn ($row) => json_encode($row, JSON_UNESCAPED_SLASHES | JSON_UNESCAPED_UNICODE | JSON_THROW_ON_ERROR), $rows)), "\n]\n";
