#!/bin/sh
# The airgap stand-in's own: removes what install.sh and the services left.
[ "$(id -u)" -eq 0 ] || { echo "must be root" >&2; exit 1; }
here=$(dirname "$(readlink -f "$0")")
prefix=$(dirname "$here")
"$here/rke2-killall.sh"
for unit in rke2-server rke2-agent; do
    systemctl disable "$unit.service" 2>/dev/null
    rm -f "$prefix/lib/systemd/system/$unit.service" "$prefix/lib/systemd/system/$unit.env" "/etc/systemd/system/$unit.service"
done
systemctl daemon-reload
rm -rf "$prefix/share/rke2" /etc/rancher/rke2 /etc/rancher/node /var/lib/kubelet
rm -rf "${RKE2_DATA_DIR:-/var/lib/rancher/rke2}" || exit 1
rm -f "$here/rke2" "$here/rke2-killall.sh" "$here/rke2-uninstall.sh"
