#!/usr/bin/env bash
# timeout: 200
# mpirun over two hosts, through launch_pretrain.sh: TP inside a host, PP or DP across, and a slow
# link. `make test-hosts` does more.
# shellcheck source=test/hosts/lib.sh
source test/hosts/lib.sh
enter_namespaces "$@"
# shellcheck source=test/app/lib.sh
source test/app/lib.sh
start_hosts
export MAX_STEPS=4
one_host
train one
two_hosts 2 2 2
train pipeline
same_losses "stages on two hosts" pipeline 4
placed "stages on two hosts" host-a 1 'dp 0 tp 1 pp 0'
placed "stages on two hosts" host-b 2 'dp 0 tp 0 pp 1'
# Gradients are summed on each host, then between the hosts.
two_hosts 2 1 1
train four
same_losses "two replicas on each of two hosts" four 4
placed "two replicas on each of two hosts" host-b 2 'dp 2 tp 0 pp 0'
two_hosts 2 2 1
link tbf rate 100mbit burst 32k latency 400ms || echo "SKIPPED a slow link: this kernel has no tbf"
train data
same_losses "replicas on two hosts, over a slow link" data 4
placed "replicas on two hosts" host-b 3 'dp 1 tp 1 pp 0'
finish
