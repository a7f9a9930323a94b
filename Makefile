# What there is to do: make help

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory
export PATH := $(CURDIR)/.venv/bin:$(PATH)
# The tests start hundreds of processes; what each imports is compiled once, whatever the environment says.
unexport PYTHONDONTWRITEBYTECODE

PACKAGES := rabbitmq-server prometheus chromium-headless-shell firefox-esr nginx apache2 haproxy caddy curl netcat-openbsd iproute2 util-linux gcc libc6-dev sqlite3 systemd openssl
PACKAGERS := mmdebstrap debhelper dpkg-dev python3-docutils python3-venv util-linux systemd-container
PACKAGING := setup.cfg pyproject.toml .ci/venv .ci/python
# Read by docutils alone, by those who show the repository and by whoever makes the manual page.
TEXTS := $(wildcard *.rst) docs/chatctl.rst
# Most of the time goes into waiting for other processes, so there are more of pytest's than cores; a
# file stays in one process.
PARALLEL := --numprocesses 6 --dist loadfile --no-loadscope-reorder
# What npm brings for tests and checks of the browser's side: types (TypeScript checks, it builds
# nothing), accessibility, clients that others wrote, bundlers and frameworks that ours is used with. Installed in one go, for npm removes what it
# was not told of. eventsource <5: the last for Node.js 20.
NPM := typescript@5.9.3 axe-core@4.11.4 eventsource@4.1.1 event-source-polyfill@1.0.31 ws@8.23.0 \
	reconnecting-websocket@4.4.0 esbuild@0.25.12 vite@6.4.6 react@19.3.1 react-dom@19.3.1 vue@3.5.45 \
	socket.io@4.8.4 socket.io-client@4.8.4
TSC := .cache/js/node_modules/.bin/tsc

.PHONY: help run test coverage test-rabbitmq4 test-leader-kills test-reading-only torture simulate fuzz soak mutants newest check docs bench bench-check package rolling-restart format news clean

help:  ## say what there is to do
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: .venv/.run  ## start chatd here: make run OPTIONS="--room kitchen"
	@exec twistd --nodaemon --pidfile= chatd $(OPTIONS)

test: .venv/.develop .cache/js/.installed  ## run all tests: make test TESTS=tests/unit/test_room.py
	@.ci/system $(PACKAGES)
	pytest $(PARALLEL) $(TESTS)

test-rabbitmq4: .venv/.develop  ## run the broker's tests on RabbitMQ 4.0, set up beside the system
	@.ci/system $(PACKAGES)
	TEST_OF_CHATD_RABBITMQ=$$(.ci/rabbitmq4) pytest -m rabbitmq $(TESTS)

test-leader-kills: .venv/.develop  ## kill the leaders of streams under load: make test-leader-kills KILLS=20
	@.ci/system $(PACKAGES)
	TEST_OF_CHATD_KILLS=$(or $(KILLS),20) TEST_OF_CHATD_FAULTS=0 pytest --capture=no tests/system/test_three_nodes.py::LeaderTests

test-reading-only: .venv/.develop  ## kill and freeze leaders; a node only reads: make test-reading-only FAULTS=20
	@.ci/system $(PACKAGES)
	TEST_OF_CHATD_KILLS=0 TEST_OF_CHATD_FAULTS=$(or $(FAULTS),20) pytest --capture=no tests/system/test_three_nodes.py::LeaderTests

torture: .venv/.develop  ## break things for hours: make torture TORTURE="--broker cluster --seconds 3600"
	@.ci/system $(PACKAGES)
	python -m tests.torture $(TORTURE)

simulate: .venv/.develop  ## whole nodes in simulated time, seed by seed: make simulate STEPS=1000000
	python -m tests.torture.simulate --steps $(or $(STEPS),1000000) $(SIMULATE)

fuzz: .venv/.fuzz  ## feed every parser millions of inputs: make fuzz SECONDS=3600
	python -m tests.fuzz --seconds $(or $(SECONDS),3600) $(FUZZ)

# The models' thousands of steps run no other lines than the other tests do.
coverage: .venv/.develop  ## which lines of the domain no unit test runs; fails below the floor
	@pytest --numprocesses 2 --dist loadfile --hypothesis-profile traced --cov --cov-report=$(or $(REPORT),term:skip-covered) \
		--ignore tests/unit/test_model.py --ignore tests/unit/test_state_and_events.py tests/unit

soak: .venv/.develop  ## clients come and go: make soak SOAK="--clients 2000 --seconds 1800"
	python -m tests.torture.soak $(SOAK)

mutants: .venv/.mutants  ## change a line at a time, and see whether a test notices: make mutants MUTANTS="rooms.history"
	python -m tests.mutants $(MUTANTS)

newest: .ci/venv .cache/js/.installed  ## run the suite on the newest releases of all libraries, whatever setup.cfg allows
	@.ci/system $(PACKAGES)
	@.ci/newest
	PATH=$(CURDIR)/.cache/newest/bin:$$PATH pytest $(PARALLEL) $(TESTS)

check: .venv/.develop .cache/js/.installed  ## ruff, mypy, types of the browser's side, documents, changelog fragments, coverage
	ruff check .
	ruff format --check .
	mypy
	$(TSC) --project chatd/web/jsconfig.json
	@towncrier build --draft --version next >/dev/null
	@for text in $(TEXTS); do docutils --halt=warning --writer=null $$text || exit 1; done
	sphinx-build -q -W -b dummy -t written docs .cache/docs-check
	@$(MAKE) coverage REPORT=xml:.cache/coverage.xml

docs: .venv/.develop  ## build the documents, Python API included, into .cache/docs; takes a minute
	sphinx-build -q -W --keep-going -a docs .cache/docs
	@echo "See .cache/docs/index.html"

format: .venv/.develop  ## lay the code out as `make check` wants it
	ruff format .
	ruff check --fix .

bench: .venv/.develop .cache/js/.installed  ## measure, peers included where they are installed
	@python -m bench --save .cache/bench.json

bench-check: .venv/.develop  ## does fan-out cost at most twice what a loop in C costs?
	@python bench/fanout.py --check

package: .venv/.develop  ## build wheel, Debian package and container, and try them; needs root and port 8081
	@.ci/system $(PACKAGERS)
	rm -rf dist
	SOURCE_DATE_EPOCH=$$(git log -1 --format=%ct) python -m build --outdir dist
	pytest -p no:xdist tests/system/test_packaging.py
	.ci/deb .cache/packages
	.ci/try-deb .cache/packages/chatd_*.deb
	.ci/try-systemd .cache/packages/chatd_*.deb
	.ci/try-container

rolling-restart: .venv/.develop  ## restart three nodes behind nginx and HAProxy: how long is each client away?
	@.ci/system $(PACKAGES)
	@mkdir -p .cache
	python bench/rolling_restart.py --front nginx --plot .cache/rolling-nginx.svg
	python bench/rolling_restart.py --front haproxy --plot .cache/rolling-haproxy.svg

news: .venv/.develop  ## show what the next release's notes will say
	@towncrier build --draft --version next

clean:  ## remove what make made
	rm -rf .venv .cache build mutants dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -prune -exec rm -rf {} +

.venv/.run: $(PACKAGING)
	@echo "Making .venv and installing chatd in it"
	@.ci/venv
	@touch $@

.venv/.develop: $(PACKAGING)
	@echo "Making .venv and installing chatd, its tests' and its checks' needs in it"
	@.ci/venv test,check,docs
	@touch .venv/.run $@

.venv/.mutants: $(PACKAGING)
	@.ci/venv test,check,docs,mutants
	@touch .venv/.run .venv/.develop $@

.venv/.fuzz: $(PACKAGING)
	@.ci/venv test,check,docs,fuzz
	@touch .venv/.run .venv/.develop $@

.cache/js/.installed: .ci/node Makefile | .venv/.develop
	@.ci/node
	@npm install --silent --no-save --no-package-lock --prefix .cache/js $(NPM)
	@touch $@
