# What CI runs: formatting, lints, tests, docs, dependencies.
check:
    ./check.sh

# The whole proxy on one machine, without network or credentials.
demo:
    cargo run --release --locked -- demo

# The binary to deploy: slow to build, and the fastest to run.
dist:
    cargo build --profile dist --locked

# The same with profile-guided optimisation (PGO): the profile is of the benchmarks. Needs `rustup component add llvm-tools`.
release-pgo:
    packaging/pgo.sh

# The container image without Docker: built by buildah; podman runs the demo in it. `ARCHIVE=FILE just image` keeps it. Needs root.
image:
    deploy/image.sh

# What a release consists of: static programs, Debian packages, sources, SBOM, checksums, in target/release-files.
release:
    packaging/release.sh

# A Debian package's life in a fresh Debian: install, start, upgrade, purge. Needs root and mmdebstrap.
test-deb package:
    packaging/test-deb.sh {{package}}

# The same, laid out for an idle proxy: it takes 7 to 10 MiB less memory. Needs valgrind.
dist-ordered:
    ./order.sh

# This proxy and a bare hyper proxy in turns on the same loopback origin; `just bench 7` for more repetitions.
bench reps="5":
    cargo bench --locked --bench proxy -- --reps {{reps}}

# The same scenarios with other proxies, installed from package registries into target/peers. Writes docs/peers.md (some 15 minutes).
bench-peers *args:
    benches/peers/install.sh
    cargo bench --locked --bench peers -- {{args}}

# A coding agent's calls, whose conversations grow and are sent whole each time, beside the bare proxy (some four minutes).
bench-llm reps="3":
    cargo bench --locked --bench llm -- --reps {{reps}}

# How it grows: with connections, cores, open streams, a backlog and the size of the store. Draws plots into docs/.
bench-growth *args:
    cargo bench --locked --bench growth -- {{args}}

# Instructions of the parts that work on each call, and of whole calls, beside benches/counts/counts.txt; `just counts --write`.
counts *args:
    cargo bench --locked --profile release --bench counts -- {{args}}

# The store by itself: the cost of saving a body; lists, retention and deletion with 100,000 events (about two minutes).
bench-store:
    cargo bench --locked --bench store

# A burst of calls against an OTAS as slow as it was measured to be: what arrives, and what agents notice (some four minutes).
burst events="2000":
    cargo bench --locked --bench burst -- --events {{events}}

# What a fleet costs: a proxy into the queue, a relay beside direct delivery, a cluster, bodies that grow (some five minutes). Needs nats-server.
fleet:
    cargo bench --locked --bench fleet

# The warm path: a connection for each call to an origin 20 ms away, after some time idle (some four minutes).
warm:
    cargo bench --locked --bench warm

# How much of the labelled corpus the masker finds, and how much it changes without need.
masking:
    cargo test --locked --test suite -- --nocapture masking::

# What the search for secrets costs a megabyte: prose, and texts made to be slow; and whether these delay the events of others.
# `just masking-bench --search 120` looks for slower texts for two minutes.
masking-bench *args:
    cargo bench --locked --bench masking -- {{args}}

# The page over a store of so many events: each view, and the live table beside 200 calls a second, in a browser if there is one.
page events="100000":
    cargo bench --locked --bench page -- --events {{events}}

# The chaos harness, long: OTAS fails in every way while the proxy is killed again and again.
chaos rounds="200" seed="20261123":
    OTAS_CHAOS_ROUNDS={{rounds}} OTAS_CHAOS_SEED={{seed}} cargo test --locked --test suite -- --nocapture chaos::each_call

# One fuzz target (their list: `ls fuzz/fuzz_targets`), for so many seconds, beginning from what it has found before. Needs
# cargo-fuzz; the variable lets a stable compiler take the flags that it passes.
fuzz target seconds="600":
    mkdir -p fuzz/corpus/{{target}}
    RUSTC_BOOTSTRAP=1 cargo fuzz run --sanitizer none {{target}} fuzz/corpus/{{target}} fuzz/regressions/{{target}} -- -max_total_time={{seconds}} -max_len=65536

# The table in docs/clients.md, from a run of the clients' tests (`just check` installs the clients).
clients-table:
    rm -rf target/clients-table
    OTAS_REQUIRE_CLIENTS=1 cargo test --locked --test suite clients::
    tests/clients/table.sh

# `proxy.toml` and the tables of docs/configuration.md, from the list that parses settings (src/config/keys).
reference:
    OTAS_WRITE_REFERENCE=1 cargo test --locked --test suite docs::the_settings_file

# The manual as a website in target/book, with the files beside docs/ that it links to. Needs mdbook.
book:
    rm -rf target/book target/book-source
    mkdir -p target/book-source/src/prices
    cp -r docs deploy *.md proxy.toml prices.example.toml Dockerfile target/book-source/
    cp -r src/prices/public target/book-source/src/prices/
    mv target/book-source/docs/book.toml target/book-source/
    sed 's|](|](docs/|' docs/SUMMARY.md > target/book-source/SUMMARY.md
    printf '\n# Project\n' >> target/book-source/SUMMARY.md
    for page in ARCHITECTURE CONTRIBUTING SECURITY CHANGELOG README; do echo "- [$page]($page.md)"; done >> target/book-source/SUMMARY.md
    rm target/book-source/docs/SUMMARY.md
    sed -i 's|docs/SUMMARY.md|docs/quick-start.md|' target/book-source/README.md
    mdbook build target/book-source

# The page's screenshots in docs/, from the test that looks at each of its parts in a headless Chromium.
screenshots:
    OTAS_REQUIRE_CLIENTS=1 OTAS_SCREENSHOTS=1 cargo test --locked --test suite page::browser::each_page
