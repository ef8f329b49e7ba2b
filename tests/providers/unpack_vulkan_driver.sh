#!/bin/sh
# Unpack a software Vulkan driver for the WebGPU provider into the folder $1; the system is left as it is.
#
# SwiftShader comes with Debian's chromium-common, its Vulkan loader too. Where the folder holds driver.env, all is done.
set -eu

folder=$1
if [ -f "$folder/driver.env" ]; then
	exit 0
fi
command -v apt-get >/dev/null || { echo "no apt-get here: give VK_DRIVER_FILES yourself (docs/devices.md)" >&2; exit 1; }
mkdir -p "$folder"
folder=$(cd "$folder" && pwd)
work=$(mktemp -d "$folder/unpack.XXXXXX")
trap 'rm -rf "$work"' EXIT
cd "$work"
apt-cache show chromium-common >/dev/null 2>&1 || apt-get update -qq
apt-get download -qq -o APT::Sandbox::User=root chromium-common
dpkg -x chromium-common_*.deb root
for file in libvk_swiftshader.so libvulkan.so.1 vk_swiftshader_icd.json; do
	mv "root/usr/lib/chromium/$file" "$folder/$file"
done
cat >"$folder/driver.env" <<EOF
export ORT_WEBGPU_EP_ALLOW_SOFTWARE_ADAPTER=1
export VK_DRIVER_FILES=$folder/vk_swiftshader_icd.json
export LD_LIBRARY_PATH=$folder\${LD_LIBRARY_PATH:+:\$LD_LIBRARY_PATH}
EOF
