#!/usr/bin/env bash
# Ends what start.sh started in a folder: those processes and no others.
set -uo pipefail
folder=$(realpath "$1")
SLURM_CONF="$folder/slurm.conf" scancel --state=PENDING,RUNNING --user=root 2> /dev/null
for name in slurmd slurmctld munged; do
    [ -f "$folder/$name.pid" ] && kill "$(cat "$folder/$name.pid")"
done
exit 0
