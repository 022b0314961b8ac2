#!/bin/sh
# The airgap stand-in's own: ends the services, keeps the data.
[ "$(id -u)" -eq 0 ] || { echo "must be root" >&2; exit 1; }
for unit in rke2-server rke2-agent; do
    systemctl stop "$unit.service" 2>/dev/null
done
rm -rf /run/k3s
rm -f /var/lib/rancher/rke2/agent/pod-manifests/*.yaml
exit 0
