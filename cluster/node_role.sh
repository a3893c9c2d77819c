# Sourced on each node with "address=role" words: finds which of the addresses is ours and sets NODE_IP, ROLE and NICENESS.
# One start command serves all workers of `ray up`, so a node must find out itself what it is.
NODE_IP="" ROLE=""
for pair in "$@"; do
  if ip -4 -o addr | grep -qF " ${pair%%=*}/"; then
    NODE_IP="${pair%%=*}" ROLE="${pair#*=}"
  fi
done
if [ -z "$ROLE" ]; then
  echo "node_role.sh: no address of this machine is among: $*" >&2
  exit 2
fi
# Workers beside nothing urgent may give way; those of live_trading may not.
NICENESS=15
[ "$ROLE" = live_trading ] && NICENESS=0
export NODE_IP ROLE NICENESS
