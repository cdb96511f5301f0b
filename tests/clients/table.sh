#!/usr/bin/env bash
# Puts what the clients' tests noted (target/clients-table) into docs/clients.md, between the two marks there.
set -euo pipefail
cd "$(dirname "$0")/../.."

table=$(mktemp)
trap 'rm -f "$table"' EXIT
{
  echo '| | client | version | what | with | result |'
  echo '|---|---|---|---|---|---|'
  cat target/clients-table/*.tsv | LC_ALL=C sort | awk -F'\t' '{ printf "| %s | `%s` | %s | %s | %s | %s |\n", $1, $2, $3, $4, $5, $6 }'
} >"$table"
sed -i -e '/^<!-- clients: begin/,/^<!-- clients: end/{/^<!-- clients: begin/r '"$table" -e '/^<!-- clients:/!d}' docs/clients.md
