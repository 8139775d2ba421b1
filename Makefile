# The project's commands. On a machine with Rust and Python 3.11 each of them sets up what it needs, below .tools/.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

SAM := .tools/sam/bin/sam
SANDBOX := target/debug/sandbox
# Local builds leave link-time optimisation out: it costs minutes and changes nothing that is shown here.
LOCAL_PROFILE := CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 CARGO_PROFILE_RELEASE_OPT_LEVEL=1
SAM_ENVIRONMENT := PATH="$(CURDIR)/.tools/sam/bin:$$PATH" SAM_CLI_TELEMETRY=0

say = printf '\n== %s\n'
# One set of features for every command, so that nothing is compiled twice.
CARGO_SET := --locked --workspace --features crm-autopilot-shared/testing

# JSON=1 prints an answer of the operator for programs.
AS_JSON = $(if $(filter-out 0 no,$(JSON)),--json)

.PHONY: help tools build build-local demo up down send backfill reconcile sync invite auto-join media set-up never-log triage-rules simulate labelled quick test endurance benchmark benchmark-batch clean metrics doctor forget dead-letters redrive park drop subscribe story replay

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' Makefile

tools: ## Install the pinned tools below .tools/
	@tests/setup/tools

.PHONY: test-tools
test-tools:
	@tests/setup/tools test

build: tools ## Build the functions for AWS, with the real release profile
	@$(say) "Building the functions (cold: about ten minutes on two cores)"
	@$(SAM_ENVIRONMENT) $(SAM) build

build-local: tools
	@$(say) "Building the functions without link-time optimisation (cold: several minutes on two cores; then seconds)"
	@$(LOCAL_PROFILE) $(SAM_ENVIRONMENT) $(SAM) build
	@$(say) "Building the sandbox (cold: a few minutes; then seconds)"
	@cargo build $(CARGO_SET) --bin sandbox

demo: build-local ## Deploy to the local engine, replay events/, show what arrived: [CRM=rest|hubspot|salesforce|pipedrive] [TICKETS=rest|zendesk|jira]
	@$(say) "Running the demo"
	@$(SANDBOX) demo $(if $(CRM),--crm "$(CRM)") $(if $(TICKETS),--tickets "$(TICKETS)")

up: build-local ## Start the same world and leave it running: [CRM=] [TICKETS=]
	@$(SANDBOX) up $(if $(CRM),--crm "$(CRM)") $(if $(TICKETS),--tickets "$(TICKETS)")

down: ## End what `make up` left running
	@if [ -x $(SANDBOX) ]; then $(SANDBOX) down; else echo "nothing is running here"; fi

send: ## Sign a sample with the stack's secret and post it: EVENT=<file> [STACK=<stack in AWS>]
	@if [ -z "$(EVENT)" ]; then echo "name a sample: make send EVENT=events/email-activity/inbound-known-contact.json" >&2; exit 1; fi
	@if [ ! -x $(SANDBOX) ] || [ ! -x $(SAM) ]; then $(MAKE) --no-print-directory tools && cargo build $(CARGO_SET) --bin sandbox; fi
	@$(SANDBOX) send "$(EVENT)" $(if $(STACK),--aws "$(STACK)")

backfill: ## Bring an account's events to the CRM: GRANT=<grant> [CALENDAR=<id>] [DAYS=90] [START=] [END=] [RUN=] [STACK=<stack in AWS>]
	@if [ -z "$(GRANT)" ]; then echo "name an account: make backfill GRANT=<its Nylas grant>" >&2; exit 1; fi
	@if [ ! -x $(SANDBOX) ] || [ ! -x $(SAM) ]; then $(MAKE) --no-print-directory tools && cargo build $(CARGO_SET) --bin sandbox; fi
	@$(SANDBOX) operate $(if $(STACK),--aws "$(STACK)") $(AS_JSON) backfill --grant "$(GRANT)" $(if $(CALENDAR),--calendar "$(CALENDAR)") \
	  $(if $(DAYS),--days "$(DAYS)") $(if $(START),--start "$(START)") $(if $(END),--end "$(END)") $(if $(RUN),--run "$(RUN)")

reconcile: ## Look for what Nylas did not notify of: [GRANT=<grant>] [WHAT=mail|calendars|notes] [FROM=] [TO=] [RUN=] [STACK=<stack in AWS>]
	@if [ ! -x $(SANDBOX) ] || [ ! -x $(SAM) ]; then $(MAKE) --no-print-directory tools && cargo build $(CARGO_SET) --bin sandbox; fi
	@$(SANDBOX) operate $(if $(STACK),--aws "$(STACK)") $(AS_JSON) reconcile $(if $(GRANT),--grant "$(GRANT)") $(if $(WHAT),--what "$(WHAT)") \
	  $(if $(FROM),--from "$(FROM)") $(if $(TO),--to "$(TO)") $(if $(RUN),--run "$(RUN)")

sync: ## Bring the address books' phones, titles and companies to the CRM now: [GRANT=<grant>] [DRY_RUN=1] [REPLACE_EXISTING=1] [RUN=] [STACK=<stack in AWS>]
	@if [ "$(origin GRANT)" != undefined ] && [ -z "$(GRANT)" ]; then echo "GRANT is empty: name an account, or leave GRANT out for all of them" >&2; exit 1; fi
	@for switch in "DRY_RUN=$(DRY_RUN)" "REPLACE_EXISTING=$(REPLACE_EXISTING)"; do case "$${switch#*=}" in ""|0|1) ;; *) echo "$$switch: give 1 for yes, or leave it out" >&2; exit 1;; esac; done
	@if [ "$(origin DRYRUN)" != undefined ]; then echo "DRYRUN is not read: write DRY_RUN=1" >&2; exit 1; fi
	@if [ ! -x $(SANDBOX) ] || [ ! -x $(SAM) ]; then $(MAKE) --no-print-directory tools && cargo build $(CARGO_SET) --bin sandbox; fi
	@$(SANDBOX) operate $(if $(STACK),--aws "$(STACK)") $(AS_JSON) sync $(if $(GRANT),--grant "$(GRANT)") $(if $(filter 1,$(DRY_RUN)),--dry-run) \
	  $(if $(filter 1,$(REPLACE_EXISTING)),--replace-existing) $(if $(RUN),--run "$(RUN)")

# Links, rules and references reach the shell by its environment: quotes, `&` and `?` in them are read by nobody on the way.
invite: ## Send a notetaker to a meeting: GRANT=<grant> LINK=<where people join> [AT=<time, else at once>] [STACK=<stack in AWS>]
	@if [ -z "$(GRANT)" ] || [ -z "$${LINK:-}" ]; then echo "name an account and a meeting: make invite GRANT=<its Nylas grant> LINK=https://meet.google.com/abc-defg-hij" >&2; exit 1; fi
	@if [ ! -x $(SANDBOX) ] || [ ! -x $(SAM) ]; then $(MAKE) --no-print-directory tools && cargo build $(CARGO_SET) --bin sandbox; fi
	@$(SANDBOX) operate $(if $(STACK),--aws "$(STACK)") $(AS_JSON) invite --grant "$(GRANT)" --link "$$LINK" $(if $(AT),--at "$(AT)")

auto-join: ## Show or set which meetings notetakers join: GRANT=<grant> [CALENDAR=primary] [SET='{"events":["external"]}'] [OFF=1] [STACK=<stack in AWS>]
	@if [ -z "$(GRANT)" ]; then echo "name an account: make auto-join GRANT=<its Nylas grant>" >&2; exit 1; fi
	@if [ ! -x $(SANDBOX) ] || [ ! -x $(SAM) ]; then $(MAKE) --no-print-directory tools && cargo build $(CARGO_SET) --bin sandbox; fi
	@$(SANDBOX) operate $(if $(STACK),--aws "$(STACK)") $(AS_JSON) auto-join --grant "$(GRANT)" $(if $(CALENDAR),--calendar "$(CALENDAR)") \
	  $${SET:+--set "$$SET"} $(if $(OFF),--off)

media: ## Make a link that opens a file of a meeting: REFERENCE=<s3://… as the CRM has it> [MINUTES=15] [STACK=<stack in AWS>]
	@if [ -z "$${REFERENCE:-}" ]; then echo "name a file: make media REFERENCE=s3://<bucket>/media/<grant>/<notetaker>/summary.txt" >&2; exit 1; fi
	@if [ ! -x $(SANDBOX) ] || [ ! -x $(SAM) ]; then $(MAKE) --no-print-directory tools && cargo build $(CARGO_SET) --bin sandbox; fi
	@$(SANDBOX) operate $(if $(STACK),--aws "$(STACK)") $(AS_JSON) media --reference "$$REFERENCE" $(if $(MINUTES),--minutes "$(MINUTES)")

set-up: ## Make and check what the CRM and the ticket system need once, such as fields of their own: [STACK=<stack in AWS>]
	@if [ ! -x $(SANDBOX) ] || [ ! -x $(SAM) ]; then $(MAKE) --no-print-directory tools && cargo build $(CARGO_SET) --bin sandbox; fi
	@$(SANDBOX) operate $(if $(STACK),--aws "$(STACK)") $(AS_JSON) set-up

# Ids hold anything: they reach the shell by its environment.
story: ## Tell all that is known of a notification, message, event, notetaker, contact, ticket or customer: ID=<id> [GRANT=<grant>] [STACK=<stack in AWS>]
	@if [ -z "$${ID:-}" ]; then echo "name something: make story ID=<the id of a notification, message, event, notetaker, contact or ticket, or a customer's address>" >&2; exit 1; fi
	@if [ ! -x $(SANDBOX) ] || [ ! -x $(SAM) ]; then $(MAKE) --no-print-directory tools && cargo build $(CARGO_SET) --bin sandbox; fi
	@$(SANDBOX) operate $(if $(STACK),--aws "$(STACK)") $(AS_JSON) give story id="$$ID" $${GRANT:+grant_id="$$GRANT"}

replay: ## Have notifications decided once more; shows what would be done, LIVE=1 does it: FILE=<body or sample> | UNROUTABLE=1 | KIND=message|event|notetaker|contact ID=<id> GRANT=<grant> [CALENDAR=<id>] [AGAIN=1] [LIVE=1] [STACK=<stack in AWS>]
	@if [ ! -x $(SANDBOX) ] || [ ! -x $(SAM) ]; then $(MAKE) --no-print-directory tools && cargo build $(CARGO_SET) --bin sandbox; fi
	@replay() { $(SANDBOX) operate $(if $(STACK),--aws "$(STACK)") $(AS_JSON) give replay "$$@" \
	  $(if $(filter-out 0 no,$(AGAIN)),again:=true) $(if $(filter-out 0 no,$(LIVE)),dry_run:=false); }; \
	if [ -n "$${FILE:-}" ]; then body="$$(cat -- "$$FILE")"; replay notification="$$body"; \
	elif [ -n "$(filter-out 0 no,$(UNROUTABLE))" ]; then replay from=unroutable; \
	elif [ -n "$${KIND:-}" ] && [ -n "$${ID:-}" ] && [ -n "$${GRANT:-}" ]; then \
	  replay kind="$$KIND" id="$$ID" grant_id="$$GRANT" $${CALENDAR:+calendar_id="$$CALENDAR"}; \
	else echo "name what: make replay FILE=events/email-activity/inbound-known-contact.json, or UNROUTABLE=1, or KIND=message ID=<id> GRANT=<grant>" >&2; exit 1; fi

doctor: ## Examine everything that the stack depends on, one line each, with what to do when red: [STACK=<stack in AWS>]
	@if [ ! -x $(SANDBOX) ] || [ ! -x $(SAM) ]; then $(MAKE) --no-print-directory tools && cargo build $(CARGO_SET) --bin sandbox; fi
	@$(SANDBOX) operate $(if $(STACK),--aws "$(STACK)") $(AS_JSON) give doctor

dead-letters: ## Show what was given up: [ID=] [FUNCTION=] [CLASS=] [TYPE=] [OLDER_THAN=48h] [NEWER_THAN=] [LIST=1] [STACK=<stack in AWS>]
	@if [ ! -x $(SANDBOX) ] || [ ! -x $(SAM) ]; then $(MAKE) --no-print-directory tools && cargo build $(CARGO_SET) --bin sandbox; fi
	@$(SANDBOX) operate $(if $(STACK),--aws "$(STACK)") $(AS_JSON) give dead_letters $(WHICH_LETTERS) $(if $(filter 1,$(LIST)),list:=true)

# What names dead letters. It reaches the shell by its environment: ids may hold anything.
WHICH_LETTERS = $${ID:+id="$$ID"} $${FUNCTION:+function="$$FUNCTION"} $${CLASS:+class="$$CLASS"} $${TYPE:+type="$$TYPE"} \
  $${OLDER_THAN:+older_than="$$OLDER_THAN"} $${NEWER_THAN:+newer_than="$$NEWER_THAN"}
HOW_LETTERS_MOVE = $(if $(filter 1,$(ALL)),all:=true) $(if $(filter 1,$(PARKED)),parked:=true) $(if $(filter-out 0 no,$(LIVE)),dry_run:=false) \
  $${PER_SECOND:+per_second:="$$PER_SECOND"} $${FAILED_BEFORE:+failed_before="$$FAILED_BEFORE"}

redrive: ## Put what was given up back into its queue, shown first: ID=|FUNCTION=|CLASS=|TYPE=|OLDER_THAN=|ALL=1|PARKED=1 [LIVE=1] [PER_SECOND=5] [STACK=<stack in AWS>]
	@if [ ! -x $(SANDBOX) ] || [ ! -x $(SAM) ]; then $(MAKE) --no-print-directory tools && cargo build $(CARGO_SET) --bin sandbox; fi
	@$(SANDBOX) operate $(if $(STACK),--aws "$(STACK)") $(AS_JSON) give redrive $(WHICH_LETTERS) $(HOW_LETTERS_MOVE)

park: ## Set what was given up aside for 35 days, shown first: REASON=<why> ID=|FUNCTION=|CLASS=|TYPE=|OLDER_THAN=|ALL=1 [LIVE=1] [STACK=<stack in AWS>]
	@if [ ! -x $(SANDBOX) ] || [ ! -x $(SAM) ]; then $(MAKE) --no-print-directory tools && cargo build $(CARGO_SET) --bin sandbox; fi
	@$(SANDBOX) operate $(if $(STACK),--aws "$(STACK)") $(AS_JSON) give park $(WHICH_LETTERS) $(HOW_LETTERS_MOVE) $${REASON:+reason="$$REASON"}

drop: ## Be done with what was given up, shown first: REASON=<why> ID=|FUNCTION=|CLASS=|TYPE=|OLDER_THAN=|ALL=1|PARKED=1 [LIVE=1] [STACK=<stack in AWS>]
	@if [ ! -x $(SANDBOX) ] || [ ! -x $(SAM) ]; then $(MAKE) --no-print-directory tools && cargo build $(CARGO_SET) --bin sandbox; fi
	@$(SANDBOX) operate $(if $(STACK),--aws "$(STACK)") $(AS_JSON) give drop $(WHICH_LETTERS) $(HOW_LETTERS_MOVE) $${REASON:+reason="$$REASON"}

subscribe: ## See to the webhook at Nylas and its secret; after each deployment: [ROTATE=1] [CHECK=1] [ACTIVATE=1] [STACK=<stack in AWS>]
	@for switch in "ROTATE=$(ROTATE)" "CHECK=$(CHECK)" "ACTIVATE=$(ACTIVATE)"; do case "$${switch#*=}" in ""|0|1) ;; *) echo "$$switch: give 1 for yes, or leave it out" >&2; exit 1;; esac; done
	@if [ ! -x $(SANDBOX) ] || [ ! -x $(SAM) ]; then $(MAKE) --no-print-directory tools && cargo build $(CARGO_SET) --bin sandbox; fi
	@$(SANDBOX) operate $(if $(STACK),--aws "$(STACK)") $(AS_JSON) give subscribe $(if $(filter 1,$(ROTATE)),rotate:=true) \
	  $(if $(filter 1,$(CHECK)),check:=true) $(if $(filter 1,$(ACTIVATE)),activate:=true)

never-log: ## Check a list of those whose mail is never logged and put it in place: LIST=<file> [STACK=<stack in AWS>]
	@if [ -z "$(LIST)" ]; then echo "name a list: make never-log LIST=events/demo/never-log.txt" >&2; exit 1; fi
	@if [ ! -x $(SANDBOX) ] || [ ! -x $(SAM) ]; then $(MAKE) --no-print-directory tools && cargo build $(CARGO_SET) --bin sandbox; fi
	@$(SANDBOX) never-log "$(LIST)" $(if $(STACK),--aws "$(STACK)")

forget: ## Show what the stack holds of a person; with LIVE=1 remove it: EMAIL=<address> [LIVE=1] [FORCE=1] [STACK=<stack in AWS>]
	@if [ -z "$${EMAIL:-}" ]; then echo "say whom to forget: make forget EMAIL=dana@example.com [LIVE=1] [STACK=<stack in AWS>]" >&2; exit 1; fi
	@if [ ! -x $(SANDBOX) ] || [ ! -x $(SAM) ]; then $(MAKE) --no-print-directory tools && cargo build $(CARGO_SET) --bin sandbox; fi
	@$(SANDBOX) operate $(if $(STACK),--aws "$(STACK)") $(AS_JSON) give forget email="$$EMAIL" \
	  dry_run:=$(if $(filter-out 0 no,$(LIVE)),false,true) $(if $(filter-out 0 no,$(FORCE)),force:=true)

triage-rules: ## Check a file of triage rules and show what it would change of the support mail that came; with LIVE=1 put it in place: RULES=<file> [DAYS=7] [GRANT=<grant>,…] [LIVE=1] [STACK=<stack in AWS>]
	@if [ -z "$${RULES:-}" ]; then echo "name a file of rules: make triage-rules RULES=my-rules.toml [DAYS=7] [LIVE=1] [STACK=<stack in AWS>]; to begin one, copy the built-in rules, shared/src/triage/rules.toml" >&2; exit 1; fi
	@if [ ! -x $(SANDBOX) ] || [ ! -x $(SAM) ]; then $(MAKE) --no-print-directory tools && cargo build $(CARGO_SET) --bin sandbox; fi
	@$(SANDBOX) triage-rules "$$RULES" $(if $(DAYS),--days "$(DAYS)") $(if $(GRANT),--grants "$(GRANT)") \
	  $(if $(filter-out 0 no,$(LIVE)),--live) $(if $(STACK),--aws "$(STACK)")

metrics: ## Show the dashboard's figures: metrics, errors by kind, coverage, queues, dead letters: [JSON=1] [STACK=<stack in AWS>, of the last day]
	@if [ ! -x $(SANDBOX) ] || [ ! -x $(SAM) ]; then $(MAKE) --no-print-directory tools && cargo build $(CARGO_SET) --bin sandbox; fi
	@$(SANDBOX) metrics $(if $(filter-out 0 no,$(JSON)),--json) $(if $(STACK),--aws "$(STACK)")

# The mails and scheduler.toml are read as they stand, so an edit shows at once; the rules are built when their sources are newer.
SIMULATED := Cargo.toml Cargo.lock functions/onboarding-transitions shared tests/Cargo.toml tests/src
simulate: ## Play a customer's story through the onboarding, without AWS: [STORY=<story>|all] [FOLLOW_UP=48h] [NUDGE=72h] [ESCALATE=72h] [SENDING_HOURS=] [MAILS=1]
	@if [ ! -x $(SANDBOX) ] || [ -n "$$(find $(SIMULATED) \( -name '*.rs' -o -name 'Cargo.*' \) -newer $(SANDBOX) -print -quit)" ]; then \
	  $(say) "Building the simulation (cold: a few minutes; after a change of the rules: about a minute)"; \
	  cargo build $(CARGO_SET) --bin sandbox; \
	fi
	@$(SANDBOX) simulate $${FOLLOW_UP:+--follow-up "$$FOLLOW_UP"} $${NUDGE:+--nudge "$$NUDGE"} $${ESCALATE:+--escalate "$$ESCALATE"} \
	  $${SENDING_HOURS:+--sending-hours "$$SENDING_HOURS"} $(if $(filter-out 0 no,$(MAILS)),--show-mails) -- $${STORY:+"$$STORY"}

labelled: ## Judge the labelled mails, beside what the usual filters make of them
	@cargo test $(CARGO_SET) --lib labelled -- --nocapture

quick: ## Everything that needs no engine: format, clippy, unit and property tests, adapters, facts
	@$(say) "Format"
	@cargo fmt --all --check
	@$(say) "Clippy with warnings denied"
	@cargo clippy $(CARGO_SET) --all-targets -- -D warnings
	@$(say) "Unit, property and adapter tests, samples, template facts, architecture"
	@cargo test $(CARGO_SET) --lib --bins --test endpoint --test architecture --test contract --test contract-tickets --test events --test template

test: test-tools quick ## Everything: what `quick` does, licences, the template, then the end-to-end suite
	@$(say) "Licences, bans and sources"
	@cargo fetch --locked --quiet # those of other platforms too: their licences count as well
	@.tools/cargo-deny/bin/cargo-deny --offline --locked check bans licenses sources
	@$(say) "The template"
	@$(SAM_ENVIRONMENT) AWS_DEFAULT_REGION=us-east-1 $(SAM) validate --lint
	@$(MAKE) --no-print-directory build-local
	@$(say) "End to end on the local engine, with IAM enforced (a few minutes)"
	@cargo test $(CARGO_SET) --test end-to-end -- --test-threads 1

endurance: test-tools build-local ## What takes minutes: a backfill of 5,000 events killed three times, a burst of 2,000 updates, a recording of 1 GiB
	@$(say) "Endurance on the local engine (about ten minutes)"
	@cargo test $(CARGO_SET) --test end-to-end -- --test-threads 1 --ignored --nocapture

.PHONY: permissions
permissions: build-local ## Take every permission out of its role once and show what fails without it (about ten minutes): [ONLY=<function>]
	@$(say) "Permissions on the local engine"
	@$(SANDBOX) permissions $(if $(ONLY),--only "$(ONLY)")

benchmark: build ## Measure ingress beside a do-nothing and a forward-only function
	@cargo run --locked --release --package crm-autopilot-benchmark --no-default-features --bin benchmark

# With the profile of `quick` and `test`, so that nothing more is compiled: calls are what is waited for, and what the
# other profile would save is on the batch's side. The lines left out are the metrics that the engine writes for each batch.
benchmark-batch: ## Measure a batch of ten mails, and of ten events, beside a single one and beside the usual loop
	@cargo build $(CARGO_SET) --bin batch
	@target/debug/batch | grep --invert-match '"_aws":'

# With the profile of the deployed functions, and without what the other benchmarks link.
.PHONY: benchmark-triage
benchmark-triage: ## Measure the support-mail rules on hostile texts and on mails, beside the usual search for each keyword
	@cargo run --locked --release --package crm-autopilot-benchmark --no-default-features --features triage --bin triage

# With the profile of the deployed functions, like the one above. It builds the stand-ins, too, with that profile.
.PHONY: benchmark-contacts
benchmark-contacts: ## Measure nights of contact-sync on 1,000 to 100,000 contacts, beside the usual loop (about 22 minutes): [QUICK=1]
	@cargo run --locked --release --package crm-autopilot-benchmark --no-default-features --features contacts --bin contacts -- $(if $(filter-out 0 no false,$(QUICK)),--quick)

clean: down ## Remove what the commands above made
	@rm -rf .aws-sam .local .tools target
