# facts of a host
# $1: state paths, content paths, names, registry host, port, addresses: lists end with --
set -u
PATH=$PATH:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
LC_ALL=C
export PATH LC_ALL

say() {
    line=$1
    shift
    for word; do line="$line	$word"; done
    printf '%s\n' "$line"
}
have() { command -v "$1" >/dev/null 2>&1; }
now() { date +%s%3N; }
limited() { if have timeout; then timeout "$@"; else shift; "$@"; fi; }

nature() {
    [ -r /etc/os-release ] && (
        ID= VERSION_ID= PRETTY_NAME=
        . /etc/os-release
        say os "${ID:-}" "${VERSION_ID:-}" "${PRETTY_NAME:-}"
    )
    say arch "$(uname -m)"
    say kernel "$(uname -r)"
    say hostname "$(uname -n)"
    [ -s /etc/machine-id ] && say machine-id "$(cat /etc/machine-id)"
    [ -d /run/systemd/system ] && say systemd
    say cpus "$(nproc 2>/dev/null || grep -c ^processor /proc/cpuinfo)"
    say memory-kib "$(awk '$1 == "MemTotal:" { print $2 }' /proc/meminfo)"
    if [ -e /sys/fs/selinux/enforce ]; then
        say selinux "$(cat /sys/fs/selinux/enforce)"
    fi
    if [ -r /sys/fs/cgroup/cgroup.controllers ]; then
        say cgroup 2 "$(cat /sys/fs/cgroup/cgroup.controllers)"
    else
        say cgroup 1 "$(awk '$4 == 1 { printf "%s ", $1 }' /proc/cgroups)"
    fi
    for name in vm.max_map_count fs.inotify.max_user_instances fs.inotify.max_user_watches net.ipv4.ip_forward; do
        file=/proc/sys/$(printf '%s' "$name" | tr . /)
        [ -r "$file" ] && say sysctl "$name" "$(cat "$file")"
    done
    for name in bash curl openssl iptables nft iscsiadm mount.nfs cryptsetup tar sha256sum mountpoint; do
        have "$name" && say program "$name"
    done
    for name in br_netfilter overlay vxlan iscsi_tcp nfs dm_crypt; do
        if [ -d "/sys/module/$name" ] || modprobe -n -q "$name" 2>/dev/null || grep -qsw "$name" /proc/filesystems ||
            grep -qs "/$name\.ko" "/lib/modules/$(uname -r)/modules.builtin"; then
            say module "$name"
        fi
    done
    [ -e /proc/sys/net/bridge/bridge-nf-call-iptables ] && say module br_netfilter
    [ -d "/lib/modules/$(uname -r)" ] && say modules-known
}

disks() {
    for path in /var/lib/rancher /var/lib/kubelet /usr/local /opt /tmp /etc; do
        at=$path
        while [ ! -e "$at" ]; do at=${at%/*}; at=${at:-/}; done
        where=$(df -Pk "$at" | awk 'NR == 2 { print $2 " " $4 " " $6 }')
        mount=${where##* }
        exec=exec
        awk -v m="$mount" '$2 == m { o = $4 } END { exit o !~ /(^|,)noexec(,|$)/ }' /proc/self/mounts && exec=noexec
        say mount "$path" "$mount" "${where%% *}" "$(printf '%s' "$where" | cut -d ' ' -f 2)" "$exec"
    done
}

network() {
    route=$(awk '$2 == "00000000" && $8 == "00000000" { print $1; exit }' /proc/net/route)
    [ -n "$route" ] || route=$(awk '$1 ~ /^0+$/ && $2 == "00" && $10 != "lo" { print $10; exit }' /proc/net/ipv6_route 2>/dev/null)
    [ -n "$route" ] && say default-route "$route"
    if have ip; then
        ip -o addr show scope global | awk '{ sub("/.*", "", $4); print $4 }'
    else
        hostname -I 2>/dev/null | tr ' ' '\n'
    fi | while read -r address; do
        [ -n "$address" ] && say address "$address"
    done
    resolv=/etc/resolv.conf
    grep -qs '^nameserver 127.0.0.53' "$resolv" && [ -r /run/systemd/resolve/resolv.conf ] && resolv=/run/systemd/resolve/resolv.conf
    awk '$1 == "nameserver" { print $2 }' "$resolv" 2>/dev/null | while read -r server; do say nameserver "$server"; done
    cat /proc/net/tcp /proc/net/tcp6 2>/dev/null | awk '$4 == "0A" { sub(".*:", "", $2); print $2 }' | sort -u |
        while read -r port; do say listening "$port"; done
    grep -qsi '_proxy=' /etc/environment /etc/default/rke2-server /etc/default/rke2-agent && say proxy
    cat /etc/NetworkManager/conf.d/*.conf 2>/dev/null | grep -q 'unmanaged-devices=.*cali' && say nm-ignores-cni
}

services() {
    [ -d /run/systemd/system ] && systemctl show -p Id -p LoadState -p ActiveState -p UnitFileState -p ExecMainStartTimestampMonotonic \
        firewalld.service ufw.service NetworkManager.service nm-cloud-setup.service nm-cloud-setup.timer iscsid.service iscsid.socket \
        multipathd.service fapolicyd.service k3s.service rke2-server.service rke2-agent.service 2>/dev/null |
        awk -F = -v up="$(cut -d ' ' -f 1 /proc/uptime)" -v now="$(date +%s)" '
            function out() {
                if (id != "" && load == "loaded")
                    printf "unit\t%s\t%s\t%s\t%d\n", id, active, (file == "" ? "none" : file), (start > 0 ? now - up + start / 1000000 : 0)
                id = ""
            }
            $1 == "Id" { id = $2 } $1 == "LoadState" { load = $2 } $1 == "ActiveState" { active = $2 }
            $1 == "UnitFileState" { file = $2 } $1 == "ExecMainStartTimestampMonotonic" { start = $2 }
            $0 == "" { out() } END { out() }'
    for name in rke2-common rke2-server rke2-agent rke2-selinux container-selinux; do
        if have rpm && rpm -q --quiet "$name" 2>/dev/null; then say package "$name"; fi
        if have dpkg-query && dpkg-query -W -f '${Status}' "$name" 2>/dev/null | grep -q '^install ok'; then say package "$name"; fi
    done
    for binary in /usr/local/bin/rke2 /opt/rke2/bin/rke2 /usr/bin/rke2; do
        [ -x "$binary" ] || continue
        say rke2 "$binary" "$(limited 20 "$binary" --version 2>/dev/null </dev/null | awk 'NR == 1 { print $3 }')"
        break
    done
    for file in /var/lib/rancher/rke2/server/tls/server-ca.crt /var/lib/rancher/rke2/agent/server-ca.crt; do
        [ -f "$file" ] && { say cluster-ca "$(sha256sum <"$file" | cut -c 1-64)"; break; }
    done
    [ -d /var/lib/rancher/rke2/server/db/etcd ] && say etcd-data
}

registry_by() { # address, or nothing for DNS
    host=$1 port=$2 address=${3:-}
    via=${address:-$host:$port}
    if [ -z "$address" ] && ! limited 10 getent -s hosts:dns ahosts "$host" >/dev/null 2>&1; then
        case $host in *[!0-9.]*) case $host in *:*) ;; *) say registry "$via" unknown-name ''; return ;; esac ;; esac
    fi
    case $host in *:*) shown="[$host]" ;; *) shown=$host ;; esac
    if have curl; then
        set -- -sS -o /dev/null --noproxy '*' --max-time 15
        [ -n "$ca" ] && set -- "$@" --cacert "$ca"
        [ -n "$address" ] && set -- "$@" --resolve "$host:$port:$address"
        detail=$(curl "$@" "https://$shown:$port/v2/" 2>&1 </dev/null)
        case $? in
        0) say registry "$via" trusted '' ;;
        6) say registry "$via" unknown-name '' ;;
        35 | 51 | 60 | 77 | 83 | 90 | 91) say registry "$via" untrusted "$(printf '%s' "$detail" | head -n 1 | tr '\t' ' ')" ;;
        *) say registry "$via" unreachable "$(printf '%s' "$detail" | head -n 1 | tr '\t' ' ')" ;;
        esac
    elif have openssl; then
        set -- -connect "${address:-$shown}:$port" -servername "$host" -verify_hostname "$host" -verify_return_error
        [ -n "$ca" ] && set -- "$@" -CAfile "$ca"
        if detail=$(limited 15 openssl s_client "$@" 2>&1 </dev/null); then
            say registry "$via" trusted ''
        else
            case $detail in
            *CONNECTED*) say registry "$via" untrusted "$(printf '%s' "$detail" | grep -m 1 'verify error' | tr '\t' ' ')" ;;
            *) say registry "$via" unreachable "$(printf '%s' "$detail" | head -n 1 | tr '\t' ' ')" ;;
            esac
        fi
    elif limited 10 bash -c 'exec 3<>"/dev/tcp/$1/$2"' bash "${address:-$host}" "$port" 2>/dev/null </dev/null; then
        say registry "$via" unchecked ''
    else
        say registry "$via" unreachable 'no connection'
    fi
}

asked() {
    while [ "$1" != -- ]; do
        if [ -f "$1" ]; then say file "$1" "$(sha256sum <"$1" | cut -c 1-64)" "$(stat -c '%a' "$1")" "$(stat -c '%U:%G' "$1")" "$(stat -c '%Y' "$1")"; fi
        shift
    done
    shift
    while [ "$1" != -- ]; do
        if [ -f "$1" ] && [ "$(stat -c %s "$1")" -le 262144 ]; then say content "$1" "$(base64 <"$1" | tr -d '\n')"; fi
        shift
    done
    shift
    while [ "$1" != -- ]; do
        say resolved "$1" "$(limited 10 getent -s hosts:dns ahosts "$1" 2>/dev/null | awk '!seen[$1]++ { printf "%s ", $1 }')"
        shift
    done
    shift
    [ "$1" = -- ] && return
    host=$1 port=$2
    shift 2
    if [ "$1" = -- ]; then registry_by "$host" "$port"; fi
    while [ "$1" != -- ]; do
        registry_by "$host" "$port" "$1"
        shift
    done
}

main() {
    say clock-start "$(now)"
    ca=
    if [ -n "$ca_base64" ]; then
        ca=$(mktemp) && trap 'rm -f "$ca"' EXIT && printf '%s' "$ca_base64" | base64 -d >"$ca"
    fi
    nature
    disks
    network
    services
    asked "$@"
    say clock-end "$(now)"
    say end
}
