#!/bin/sh
# A Python with musl as its C library, to try the wheels on a machine of glibc:
#
#     sh release/musl_python.sh FOLDER
#     python release/try_wheels.py --other FOLDER/bin/python3.11 --with FOLDER/wheels
#
# It is built from the sources of Debian 12 in some minutes. Needs Debian's packages musl-tools, dpkg-dev, make and pip.
# Later wheels of numpy need musl 1.2.4, which Debian 12 does not have.
set -eu
folder=$(mkdir -p "$1" && cd "$1" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

mkdir -p lists/partial sources
sed 's/^Types:.*/Types: deb-src/' /etc/apt/sources.list.d/debian.sources > sources/debian.sources
from="-o Dir::Etc::sourcelist=/dev/null -o Dir::Etc::sourceparts=$work/sources -o Dir::State::lists=$work/lists"
apt-get $from -qq -o APT::Sandbox::User=root update
apt-get $from -qq -o APT::Sandbox::User=root source --tar-only python3.11 zlib > /dev/null
mkdir python zlib
tar xf python3.11_*.orig.tar.* -C python --strip-components 1
tar xf zlib_*.orig.tar.* -C zlib --strip-components 1

(cd zlib && CC=musl-gcc CFLAGS='-O2 -fPIC' ./configure --static && make libz.a) > zlib.log
cd python
cp ../zlib/zlib.h ../zlib/zconf.h Include/
# musl-gcc calls itself a compiler for glibc, whose headers must not be found
sed -i 's/MULTIARCH=$($CC --print-multiarch 2>\/dev\/null)/MULTIARCH=x86_64-linux-musl/' configure
sed -i 's/^    def add_multiarch_paths(self):/&\n        return/' setup.py
./configure --build=x86_64-linux-musl CC=musl-gcc CFLAGS=-O1 LDFLAGS="-L$work/zlib" --prefix="$folder" \
    --without-ensurepip --disable-test-modules > "$work/configure.log" 2>&1
make -j"$(nproc)" > "$work/make.log" 2>&1 || { tail -20 "$work/make.log"; exit 1; }
make install > "$work/install.log" 2>&1
python3 -m pip download --quiet --no-deps --only-binary=:all: --python-version 311 --platform musllinux_1_1_x86_64 \
    --platform musllinux_1_2_x86_64 --dest "$folder/wheels" 'numpy<2.1' safetensors
"$folder/bin/python3.11" -c 'import sysconfig, zlib; print(sysconfig.get_config_var("SOABI"))'
