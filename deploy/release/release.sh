#!/bin/sh
# Makes dist/, what a release consists of, from the source in this directory: an archive
# for each platform with the binary, its manual page and completions; deb, rpm and apk for
# Linux; what each binary is made of, in CycloneDX; install.sh; and checksums of all.
# make release calls it and sets what it reads:
#   VERSION, REVISION  of the binary
#   PLATFORMS          as GOOS/GOARCH, separated by spaces
#   NFPM, CYCLONEDX    programs with their version, for go run
# The same source makes the same bytes, whenever and wherever it is built.
set -eu

# Everything is as old as the commit.
: "${SOURCE_DATE_EPOCH:=$(git log -1 --format=%ct)}"
export SOURCE_DATE_EPOCH TZ=UTC LC_ALL=C
umask 022

# Packages need a version that begins with a digit. A build of no tag sorts before all
# releases.
if echo "$VERSION" | grep -Eq '^v[0-9]+\.[0-9]+\.[0-9]+(-(alpha|beta|rc)[0-9]+)?$'; then
	package_version=${VERSION#v}
else
	package_version=0.0.0-git$(date -d "@$SOURCE_DATE_EPOCH" +%Y%m%d%H%M%S)
fi

rm -rf dist
mkdir dist
dist=$PWD/dist
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# quiet COMMAND ARGUMENT... shows what it prints only if it fails.
quiet() {
	"$@" >"$work/log" 2>&1 || { cat "$work/log" >&2; exit 1; }
}

# What is the same on all platforms. The binary prints some of it about itself.
make -s build BINARY="$work/belfry"
mkdir -p "$work/all/completions"
cp LICENSE README.md config.example.yaml "$work/all"
"$work/belfry" man >"$work/all/belfry.1"
"$work/belfry" completion bash >"$work/all/completions/belfry.bash"
"$work/belfry" completion zsh >"$work/all/completions/_belfry"
"$work/belfry" completion fish >"$work/all/completions/belfry.fish"

cp -R deploy/packages "$work/packages"
cp -R "$work/all/." "$work/packages"
gzip -9n "$work/packages/belfry.1"
gzip -9n <CHANGELOG.md >"$work/packages/CHANGELOG.md.gz"
gzip -9n >"$work/packages/changelog.gz" <<EOF
belfry ($(echo "$package_version" | tr - '~')-1) stable; urgency=medium

  * See /usr/share/doc/belfry/changelog.gz.

 -- The Belfry authors <belfry@example.invalid>  $(date -R -d "@$SOURCE_DATE_EPOCH")
EOF

for platform in $PLATFORMS; do
	os=${platform%/*} arch=${platform#*/}
	name=belfry-$os-$arch exe=
	test "$os" != windows || exe=.exe
	tree=$work/$name/belfry
	mkdir -p "$tree"
	GOOS=$os GOARCH=$arch make -s build BINARY="$tree/belfry$exe"
	cp -R "$work/all/." "$tree"
	chmod -R u=rwX,go=rX "$tree"
	find "$tree" -exec touch -d "@$SOURCE_DATE_EPOCH" {} +
	if test "$os" = windows; then
		(cd "$work/$name" && find belfry | sort | zip -q -X -@ archive.zip)
		mv "$work/$name/archive.zip" "dist/$name.zip"
	else
		tar -C "$work/$name" --sort=name --owner=0 --group=0 --numeric-owner -cf - belfry | gzip -9n >"dist/$name.tar.gz"
	fi
	quiet go run "$CYCLONEDX" bin -json -noserial -notimestamp -version "$VERSION" -output "dist/$name.cdx.json" "$tree/belfry$exe"
	test "$os" = linux || continue
	cp "$tree/belfry" "$work/packages/belfry"
	find "$work/packages" -exec touch -d "@$SOURCE_DATE_EPOCH" {} +
	for packager in deb rpm apk; do
		(cd "$work/packages" && VERSION=$package_version ARCH=$arch quiet go run "$NFPM" package --packager "$packager" --target "$dist")
	done
done

cp deploy/release/install.sh dist
(cd dist && sha256sum -- * >"$work/checksums.txt")
mv "$work/checksums.txt" dist
