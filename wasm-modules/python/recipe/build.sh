#!/bin/bash
# Rebuilds python-reactor.wasm.gz and python-stdlib.zip from Debian source packages.
#
# Needs Debian 12 or 13 (a container will do), root for apt-get, about 3 GB of disk and five minutes on two cores.
# Everything comes from the distribution: clang, lld and compiler-rt for wasm32 from the machine's own release;
# wasi-libc, zlib, the time zone database and CPython from trixie, on the mirror that this machine's apt already uses. Trixie is read
# through a private apt configuration, so the machine's own package sources stay as they are.
#
#   build.sh            build and compare with SHA256SUMS; fails when a byte differs
#   build.sh --update   build and replace the committed artefacts and sums
#
# WORK (default: a directory under TMPDIR) keeps sources and objects, so that a second run only links again.
# MAKE may hold another make command, for instance "nice make -j2".
set -euo pipefail

HERE=$(cd "$(dirname "$0")" && pwd)
MODULE=$(dirname "$HERE")
WORK=${WORK:-${TMPDIR:-/tmp}/oap-python-wasm}
MAKE=${MAKE:-make -j$(nproc)}
UPDATE=0
[ "${1:-}" = --update ] && UPDATE=1

LLVM=19
PYTHON_SERIES=3.13
STACK_BYTES=$((8 << 20))
MEMORY_BYTES=$((20 << 20))

mkdir -p "$WORK/out"
cd "$WORK"
export SOURCE_DATE_EPOCH=1750000000 TZ=UTC LC_ALL=C

# A private apt that knows trixie's binary and source packages and nothing else.
debian_mirror() {
	apt-get indextargets --format '$(REPO_URI)' "Created-By: Packages" "Label: Debian" | sort -u | head -n 1
}
trixie() {
	local command=$1
	shift
	"$command" \
		-o Dir::Etc::sourcelist="$WORK/apt/trixie.list" -o Dir::Etc::sourceparts=/dev/null \
		-o Dir::Etc::preferencesparts=/dev/null -o Dir::State::lists="$WORK/apt/lists" \
		-o Dir::Cache="$WORK/apt/cache" -o Debug::NoLocking=1 -o APT::Sandbox::User=root "$@"
}

fetch() {
	local mirror
	mirror=$(debian_mirror)
	[ -n "$mirror" ] || { echo "no Debian mirror in this machine's apt configuration" >&2; exit 1; }
	apt-get install -y -q --no-install-recommends clang-$LLVM lld-$LLVM llvm-$LLVM libclang-rt-$LLVM-dev-wasm32 \
		gcc libc6-dev make xz-utils dpkg-dev patch unzip
	mkdir -p apt/lists/partial apt/cache/archives/partial
	for type in deb deb-src; do
		echo "$type [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror trixie main"
	done > apt/trixie.list
	trixie apt-get update -q
	trixie apt-get source --download-only "python$PYTHON_SERIES"
	trixie apt-get source --download-only --tar-only zlib
	trixie apt-get download wasi-libc tzdata tzdata-legacy
	sha256sum python3*.orig.tar.?z python3*.debian.tar.?z zlib_*.orig.tar.?z ./*.deb > out/INPUTS.sha256
}

unpack() {
	mkdir cpython zlib sysroot debian
	tar xf python3*.orig.tar.?z -C cpython --strip-components=1
	tar xf python3*.debian.tar.?z -C debian
	# Only the security and correctness patches of the distribution; its packaging patches do not fit this target.
	grep -E '^(CVE|dict-use|traverse-man|gchead|issue127330)' debian/debian/patches/series | while read -r p; do
		patch -d cpython -p1 -s --no-backup-if-mismatch < "debian/debian/patches/$p"
	done
	tar xf zlib_*.orig.tar.?z -C zlib --strip-components=1
	for package in ./*.deb; do
		dpkg -x "$package" sysroot
	done
	touch unpacked
}

# A native interpreter of the same version freezes modules and byte-compiles the standard library.
build_native() {
	mkdir -p native && cd native
	[ -f Makefile ] || ../cpython/configure MODULE_BUILDTYPE=static --without-ensurepip --disable-test-modules OPT=-O1 > configure.log 2>&1
	$MAKE python > make.log 2>&1
	cd ..
}

cross_environment() {
	# Debian keeps the wasm builtins in lib/wasi, where clang does not look for target wasip1.
	mkdir -p resource/lib pkgconfig
	ln -sfn /usr/lib/llvm-$LLVM/lib/clang/$LLVM/include resource/include
	ln -sfn /usr/lib/llvm-$LLVM/lib/clang/$LLVM/lib/wasi resource/lib/wasi
	ln -sfn wasi resource/lib/wasip1
	local target="--target=wasm32-wasip1 --sysroot=$WORK/sysroot/usr -resource-dir $WORK/resource"
	export CC="clang-$LLVM $target" CPP="clang-cpp-$LLVM $target" CXX="clang++-$LLVM $target"
	export AR=llvm-ar-$LLVM RANLIB=llvm-ranlib-$LLVM READELF=true
	export PKG_CONFIG_PATH= PKG_CONFIG_LIBDIR=$WORK/pkgconfig
	FLAGS="-mbulk-memory -mnontrapping-fptoint -ffile-prefix-map=$WORK=."
}

build_zlib() {
	cd zlib
	[ -f libz.a ] || { CHOST=wasm32 CFLAGS="-O3 $FLAGS" ./configure --static > configure.log 2>&1; $MAKE -s libz.a; }
	cd ..
	printf 'Name: zlib\nDescription: zlib\nVersion: 1.3.1\nLibs: -L%s/zlib -lz\nCflags: -I%s/zlib\n' "$WORK" "$WORK" > pkgconfig/zlib.pc
}

# pymalloc and 30-bit digits are off by default on this target; clock_nanosleep would ask the host for absolute clocks.
build_cross() {
	mkdir -p wasm && cd wasm
	export CONFIG_SITE=../cpython/Tools/wasm/config.site-wasm32-wasi
	export ac_cv_func_clock_nanosleep=no ac_cv_lib_rt_clock_nanosleep=no
	[ -f Makefile ] || ../cpython/configure --host=wasm32-wasip1 --build="$(gcc -dumpmachine)" \
		--with-build-python="$WORK/native/python" --prefix=/usr --disable-test-modules --without-ensurepip \
		--without-doc-strings --enable-big-digits=30 --with-pymalloc \
		OPT="-O3 -DNDEBUG" CFLAGS="$FLAGS" CPPFLAGS="-I$WORK/zlib" LDFLAGS="-L$WORK/zlib" > configure.log 2>&1
	$MAKE "libpython$PYTHON_SERIES.a" > make.log 2>&1
	cd ..
}

# --stack-first puts the C stack below the data, so that an overflow traps instead of overwriting objects.
link_reactor() {
	cd wasm
	$CC -O2 $FLAGS -I../cpython/Include -I../cpython/Include/internal -I. -c "$HERE/shim.c" -o shim.o
	$CC -mexec-model=reactor -z stack-size=$STACK_BYTES -Wl,--stack-first -Wl,--initial-memory=$MEMORY_BYTES \
		-Wl,--export=__stack_pointer -Wl,--gc-sections -Wl,--strip-all \
		-o ../out/python-reactor.wasm shim.o "libpython$PYTHON_SERIES.a" -ldl -lwasi-emulated-signal -lwasi-emulated-getpid \
		-lwasi-emulated-process-clocks -lm Modules/_decimal/libmpdec/libmpdec.a -L../zlib -lz \
		Modules/_hacl/libHacl_Hash_SHA2.a Modules/expat/libexpat.a
	cd ..
	gzip -9 -n -k -f out/python-reactor.wasm
}

build_stdlib() {
	env -i LC_ALL=C "$WORK/native/python" -S -E "$HERE/mkstdlib.py" "$WORK/cpython/Lib" "$WORK/sysroot/usr/share/zoneinfo" "$WORK/out/python-stdlib.zip"
}

collect_licences() {
	mkdir -p out/licences
	cp cpython/LICENSE out/licences/CPython.txt
	cp sysroot/usr/share/doc/wasi-libc/copyright out/licences/wasi-libc.txt
	cp "/usr/share/doc/libclang-rt-$LLVM-dev-wasm32/copyright" out/licences/compiler-rt.txt
	cp /usr/share/common-licenses/Apache-2.0 out/licences/Apache-2.0.txt
	cp zlib/LICENSE out/licences/zlib.txt
	cp cpython/Modules/expat/COPYING out/licences/expat.txt
	sed -n '1,/\*\//p' cpython/Modules/_decimal/libmpdec/mpdecimal.h > out/licences/libmpdec.txt
	sed -n '1,/\*\//p' cpython/Modules/_hacl/Hacl_Hash_SHA2.c > out/licences/HACL.txt
}

[ -f unpacked ] || { fetch; unpack; }
build_native
cross_environment
build_zlib
build_cross
link_reactor
build_stdlib
collect_licences

cd out
sha256sum python-reactor.wasm python-reactor.wasm.gz python-stdlib.zip > SHA256SUMS
if [ $UPDATE = 1 ]; then
	install -m 644 python-reactor.wasm.gz python-stdlib.zip SHA256SUMS INPUTS.sha256 "$MODULE/"
	mkdir -p "$MODULE/licences"
	install -m 644 licences/* "$MODULE/licences/"
	cat SHA256SUMS
	exit 0
fi
if ! diff -u "$MODULE/INPUTS.sha256" INPUTS.sha256; then
	echo "the distribution's source packages have changed since the artefacts were made: review, then run with --update" >&2
fi
diff -u "$MODULE/SHA256SUMS" SHA256SUMS && echo "identical to the committed artefacts"
