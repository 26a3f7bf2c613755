#!/bin/sh
# Installs Belfry's latest release in /usr/local, or below $PREFIX:
#   curl -fsSL ADDRESS/install.sh | sh
# ADDRESS is where the files of a release are; BELFRY_URL sets another one. Nothing is
# installed unless the archive's checksum is that of checksums.txt.
set -eu

# The project has no public address yet: put it here when it has.
url=${BELFRY_URL:-https://belfry.example.invalid/releases/latest}
prefix=${PREFIX:-/usr/local}

fail() {
	echo "install.sh: $*" >&2
	exit 1
}

fetch() { # ADDRESS FILE
	if command -v curl >/dev/null; then
		curl -fsSL -o "$2" "$1"
	elif command -v wget >/dev/null; then
		wget -qO "$2" "$1"
	else
		fail "it needs curl or wget"
	fi || fail "$1 cannot be fetched"
}

sum() { # FILE
	if command -v sha256sum >/dev/null; then
		sha256sum "$1"
	else
		shasum -a 256 "$1"
	fi | cut -d ' ' -f 1
}

# All is in functions and begins on the last line, so that half a download does nothing.
main() {
	case $(uname -s) in
	Linux) os=linux ;;
	Darwin) os=darwin ;;
	*) fail "there is no archive for $(uname -s): see docs/installation.md" ;;
	esac
	case $(uname -m) in
	x86_64 | amd64) arch=amd64 ;;
	aarch64 | arm64) arch=arm64 ;;
	*) fail "there is no archive for $(uname -m): build it from the source, see docs/installation.md" ;;
	esac
	archive=belfry-$os-$arch.tar.gz

	dir=$(mktemp -d)
	trap 'rm -rf "$dir"' EXIT
	fetch "$url/checksums.txt" "$dir/checksums.txt"
	want=$(awk -v name="$archive" '$2 == name { print $1 }' "$dir/checksums.txt")
	[ -n "$want" ] || fail "$url/checksums.txt does not have $archive: there is none for $os on $arch"
	fetch "$url/$archive" "$dir/$archive"
	got=$(sum "$dir/$archive")
	[ "$got" = "$want" ] || fail "$archive is not what was released: its SHA-256 is $got, not $want"

	tar -xzf "$dir/$archive" -C "$dir"
	mkdir -p "$prefix/bin" "$prefix/share/man/man1" ||
		fail "$prefix cannot be written to: run this as root, or set PREFIX, such as PREFIX=\$HOME/.local"
	# Renamed and not written over, as a running server may be using the one before.
	cp "$dir/belfry/belfry" "$prefix/bin/.belfry.new"
	chmod 755 "$prefix/bin/.belfry.new"
	mv "$prefix/bin/.belfry.new" "$prefix/bin/belfry"
	cp "$dir/belfry/belfry.1" "$prefix/share/man/man1/belfry.1"
	"$prefix/bin/belfry" version
	echo "installed as $prefix/bin/belfry; to start: belfry serve"
}

main
