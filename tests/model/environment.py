"""What happens without anybody's doing: eviction, expiry, crashes, a restart from a snapshot."""

from collections.abc import Iterator

from tests.model.state import DONE, Configuration, Reader, Rules, State, Writer

Step = tuple[str, State]


def steps(configuration: Configuration, rules: Rules, state: State) -> Iterator[Step]:
    for number, (event, left) in enumerate(state.events):
        if left:
            rest = (*state.events[:number], (event, left - 1), *state.events[number + 1 :])
            after = state._replace(events=rest)
            if event == "crash":
                yield from _crashes(configuration, after)
            elif event == "restart":
                yield from _restart(rules, after)
            else:
                yield from _forgets(event, after)


def _forgets(event: str, state: State) -> Iterator[Step]:
    entries, stamps = state.entries, state.stamps
    if event == "evictK" and entries:
        yield "evict entry", state._replace(entries=())
    elif event == "evictS":
        for number, stamp in enumerate(stamps):
            if stamp:
                left = (*stamps[:number], 0, *stamps[number + 1 :])
                yield f"evict stamp {number}", state._replace(stamps=left)
    elif event == "evictV" and state.version:
        yield "evict version", state._replace(version=0)
    elif event == "soft" and any(it.value is not None and it.fresh for _, it in entries):
        soft = tuple((key, it._replace(fresh=False)) for key, it in entries)
        yield "soft expiry", state._replace(entries=soft)
    elif event == "deadline" and any(it.lease and it.live for _, it in entries):
        over = tuple((key, it._replace(live=False)) for key, it in entries)
        yield "lease deadline passes", state._replace(entries=over)
    elif event == "leasegone" and any(it.lease and it.value is None for _, it in entries):
        kept = tuple((key, it) for key, it in entries if it.value is not None)
        yield "lease record expires", state._replace(entries=kept)
    elif event == "snapshot" and state.snapshot is None:
        taken = (entries, state.separate, stamps, state.version)
        yield "snapshot", state._replace(snapshot=taken)


def _crashes(configuration: Configuration, state: State) -> Iterator[Step]:
    for number, proc in enumerate(state.procs):
        if proc.at == DONE:
            continue
        dead: Reader | Writer
        if isinstance(proc, Reader):
            dead = proc.done()
        elif proc.at == "invalidate" and proc.kind in ("writing", "versioned", "blind"):
            # It had committed: its event still comes, by the daemon.
            dead = Writer(proc.number, "key", "invalidate", proc.value)
        else:
            value = proc.value if "restart" in configuration.events else None
            dead = Writer(proc.number, proc.kind, DONE, value)
        procs = (*state.procs[:number], dead, *state.procs[number + 1 :])
        who = "R" if isinstance(proc, Reader) else "W"
        yield f"{who}{proc.number} dies", state._replace(procs=procs)


def _restart(rules: Rules, state: State) -> Iterator[Step]:
    """Redis comes back as the snapshot had it.

    With a rewind every committed write is invalidated again, and until then nothing counts as
    applied, also for reads that are under way: Redis has forgotten.
    """
    if state.snapshot in (None, "used"):
        return
    entries, separate, stamps, version = state.snapshot
    procs, floor = state.procs, state.floor
    if rules.rewind:
        procs, floor = tuple(map(_rewound, procs)), 0
    yield (
        "restart from the snapshot",
        state._replace(
            entries=entries,
            separate=separate,
            stamps=stamps,
            version=version,
            procs=procs,
            floor=floor,
            snapshot="used",
        ),
    )


def _rewound(proc: Reader | Writer) -> Reader | Writer:
    if isinstance(proc, Reader):
        return proc._replace(floor=min(proc.floor, 0))
    if proc.at == DONE and proc.value:
        return proc._replace(at="invalidate", token=0)
    return proc
