#!/bin/sh
# A Python with musl as its C library, to try the wheels on a machine of glibc:
#
#     sh release/musl_python.sh FOLDER
#     python release/try_wheels.py --other FOLDER/bin/python3.11 --with FOLDER/wheels
#
#     sh release/musl_python.sh FOLDER aarch64
#     python release/try_wheels.py --other "qemu-aarch64-static -L FOLDER FOLDER/bin/python3.11" --with FOLDER/wheels
#
# It is built from the sources of Debian 12 in some minutes, by zig's compiler. Needs PyPI's ziglang, Debian's python3.11,
# dpkg-dev, make and pip, and for this machine's processor Debian's musl. Later wheels of numpy need musl 1.2.4, which
# Debian 12 does not have.
set -eu
folder=$(mkdir -p "$1" && cd "$1" && pwd)
processor=${2:-x86_64}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

mkdir -p lists/partial sources python zlib
sed 's/^Types:.*/Types: deb deb-src/' /etc/apt/sources.list.d/debian.sources > sources/debian.sources
case $processor in aarch64) architecture=arm64 ;; *) architecture=amd64 ;; esac
from="-qq -o Dir::Etc::sourcelist=/dev/null -o Dir::Etc::sourceparts=$work/sources -o Dir::State::lists=$work/lists
    -o APT::Architectures::=amd64 -o APT::Architectures::=$architecture -o APT::Sandbox::User=root"
apt-get $from update
apt-get $from source --tar-only python3.11 zlib > /dev/null
apt-get $from download "musl:$architecture" > /dev/null
dpkg -x musl_*.deb "$folder"  # the loader, for an emulator
tar xf python3.11_*.orig.tar.* -C python --strip-components 1
tar xf zlib_*.orig.tar.* -C zlib --strip-components 1

cat > cc <<END
#!/bin/sh
# zig's compiler for musl, without this machine's headers and libraries
[ "\$1" = --print-multiarch ] && { echo $processor-linux-musl; exit; }
for word; do
    shift
    case \$word in -I/usr/*|-L/usr/*) ;; *) set -- "\$@" "\$word" ;; esac
done
exec ${ZIG:-python3 -m ziglang} cc -target $processor-linux-musl -dynamic "\$@" -Wno-date-time
END
printf '#!/bin/sh\nexec %s ar "$@"\n' "${ZIG:-python3 -m ziglang}" > ar
chmod +x cc ar

(cd zlib && CC="$work/cc" AR="$work/ar" CFLAGS='-O2 -fPIC' ./configure --static && make libz.a) > zlib.log 2>&1
cd python
cp ../zlib/zlib.h ../zlib/zconf.h Include/
sed -i 's/^    def add_multiarch_paths(self):/&\n        return/' setup.py
printf 'ac_cv_file__dev_ptmx=no\nac_cv_file__dev_ptc=no\n' > config.site
# zig's musl is newer than Debian's, which lacks some functions of files
for name in preadv preadv2 pwritev pwritev2; do echo "ac_cv_func_$name=no" >> config.site; done
# a build for the own processor is a cross build too: its library is another
CONFIG_SITE=config.site ac_cv_prog_READELF=/usr/bin/readelf READELF=/usr/bin/readelf ./configure \
    --build=i686-linux-musl --host="$processor-linux-musl" --with-build-python=/usr/bin/python3.11 \
    CC="$work/cc" AR="$work/ar" CFLAGS=-O1 LDFLAGS="-L$work/zlib" --prefix="$folder" \
    --disable-ipv6 --without-ensurepip --disable-test-modules > "$work/configure.log" 2>&1 ||
    { tail -20 "$work/configure.log"; exit 1; }
make -j"$(nproc)" > "$work/make.log" 2>&1 || { tail -20 "$work/make.log"; exit 1; }
make install > "$work/install.log" 2>&1
python3 -m pip download --quiet --no-deps --only-binary=:all: --python-version 311 \
    --platform "musllinux_1_1_$processor" --platform "musllinux_1_2_$processor" --dest "$folder/wheels" \
    'numpy<2.1' safetensors
file=$(find "$folder/lib/python3.11/lib-dynload" -name 'zlib.*')
echo "$folder/bin/python3.11: ${file##*/}"
