#!/bin/sh
# Builds the layer that the package carries: sh layer/build.sh [output]. Needs gcc and Vulkan's headers (libvulkan-dev).
set -eu
here=$(cd "$(dirname "$0")" && pwd)
out=${1:-$here/libVkLayer_realhf_share.so}
${CC:-gcc} -std=c11 -O2 -g0 -Wall -Wextra -Werror -fPIC -shared -fvisibility=hidden -pthread \
  -Wl,--no-undefined -Wl,--build-id=none -Wl,-s -o "$out" "$here/realhf_layer.c" "$here/choice.c" "$here/sharing.c"
