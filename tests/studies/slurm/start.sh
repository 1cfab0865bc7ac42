#!/usr/bin/env bash
# A real Slurm of one node on this machine, as root, from Debian's slurm-wlm and munge:
#   apt-get install --no-install-recommends slurm-wlm munge
#   tests/slurm/start.sh <empty folder>    then: export SLURM_CONF=<folder>/slurm.conf
#   tests/slurm/stop.sh <folder>
# All that it writes lies in the folder. Its two GPUs are declared, not real: jobs are given one each all the same.
set -euo pipefail
folder=$(realpath "$1")
mkdir -p "$folder"/{state,spool}
chmod 755 "$folder"
free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("", 0)); print(s.getsockname()[1])'; }

dd if=/dev/urandom of="$folder/munge.key" bs=1024 count=1 status=none
chmod 400 "$folder/munge.key"
munged --force --key-file="$folder/munge.key" --socket="$folder/munge.socket" --pid-file="$folder/munged.pid" \
    --log-file="$folder/munged.log" --seed-file="$folder/munged.seed"

ln -s /dev/null "$folder/gpu0"
ln -s /dev/zero "$folder/gpu1"
host=$(hostname -s)
cat > "$folder/slurm.conf" <<END
ClusterName=one
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=$(free_port)
SlurmdPort=$(free_port)
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket=$folder/munge.socket
CryptoType=crypto/munge
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd.pid
SlurmctldLogFile=$folder/slurmctld.log
SlurmdLogFile=$folder/slurmd.log
ProctrackType=proctrack/pgid
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
GresTypes=gpu
ReturnToService=2
MinJobAge=3600
KillWait=5
NodeName=$host NodeAddr=127.0.0.1 CPUs=$(nproc) RealMemory=$(free -m | awk "/^Mem:/ {print \$2}") Gres=gpu:2 State=UNKNOWN
PartitionName=all Nodes=$host Default=YES MaxTime=INFINITE State=UP
END
echo "NodeName=$host Name=gpu File=$folder/gpu[0-1] Flags=nvidia_gpu_env" > "$folder/gres.conf"

export SLURM_CONF="$folder/slurm.conf"
slurmctld
slurmd
for _ in $(seq 60); do
    if sinfo --noheader --format=%T 2> /dev/null | grep -q idle; then
        exit 0
    fi
    sleep 0.5
done
echo "no node became idle; see the logs in $folder" >&2
exit 1
