#!/bin/sh
# Debian packages of the real servers that the tests run against: PostgreSQL, Ceph's S3 gateway, promtool.
# Without them the tests that need one are skipped and say so. Needs root.
#   sh requirements/system.sh
set -eu
packages="postgresql prometheus radosgw ceph-mon ceph-osd ceph-common"
missing=$(for package in $packages; do dpkg -s "$package" >/dev/null 2>&1 || echo "$package"; done)
[ -n "$missing" ] || exit 0

export DEBIAN_FRONTEND=noninteractive
# Installed for their programs: nothing of them shall be started.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
  printf '#!/bin/sh\nexit 101\n' >"$policy"
  chmod +x "$policy"
  trap 'rm -f "$policy"' EXIT
fi
apt-get update -q
# shellcheck disable=SC2086  # one word a package
apt-get install -y -q --no-install-recommends $missing
