# The commands of the house. "make test" is the one that counts; a CI calls it through .ci/run.

GO ?= go
FUZZTIME ?= 30s

.PHONY: run quick test check bench fuzz peers

# The whole product on this machine: a simulated city, its sites and the pages. Flags of the
# demonstration go through ARGS, as in: make run ARGS='-speed 5 -sites 5'
run:
	@mkdir -p bin
	$(GO) build -o bin/cloud ./cloud
	@exec bin/cloud demo $(ARGS)

# The loop of every day: without peers and race detector, within a minute. It leaves out the packages
# and tests that take longer or need a peer; "make test" leaves nothing out.
SLOW = /internal/e2e|/powercut$$|/edge/agent$$|/cloud/telemetry$$|/firmware-bridge/(bench|modbus|sim)$$
PEERS = Mbpoll|Pymodbus|/mosquitto

quick:
	$(GO) test -p 4 -skip '$(PEERS)' $$($(GO) list ./... | grep -vE '$(SLOW)')

# Installs what is missing with apt, as root or through sudo: see peers.
test: peers check
	$(GO) test -race -shuffle=on -timeout 30m ./...

# Fails when a formatter, the vet tool, a modernizer, staticcheck or go.mod has something to say.
check:
	@unformatted=$$(gofmt -l .); if [ -n "$$unformatted" ]; then echo "run gofmt -w on:" >&2; echo "$$unformatted" >&2; exit 1; fi
	$(GO) vet ./...
	$(GO) fix -diff ./...
	$(GO) tool staticcheck ./...
	$(GO) mod tidy -diff

bench:
	$(GO) test -run '^$$' -bench . -benchmem ./...

fuzz:
	GO='$(GO)' FUZZTIME='$(FUZZTIME)' .ci/fuzz

# The real brokers, databases, machines' tools and browsers that the tests talk to.
peers:
	@GO='$(GO)' .ci/peers
