"""MidiTok's MIDILike tokens of the same files, as its `tokenize_dataset` writes them.

Set to what midijax's events tell: at the 120 beats per minute of the files a step is 10 ms and the
longest shift a second; 32 velocities. The pedal is left out: MidiTok would tell it in events of its
own, midijax folds it into the note-offs.
"""

import tempfile
from pathlib import Path

import serve
from miditok import MIDILike, TokenizerConfig

settings = serve.settings()
config = TokenizerConfig(
    pitch_range=(0, 127),
    beat_res={(0, 2): 50},
    num_velocities=32,
    use_time_signatures=False,
)
paths = sorted(Path(settings["folder"]).iterdir())


def work() -> int:
    """Tokenizes all files; returns how many have tokens."""
    with tempfile.TemporaryDirectory() as folder:
        tokenizer = MIDILike(config)
        tokenizer.tokenize_dataset(paths, folder, parallel_workers_size=settings["num_processes"])
        return len(list(Path(folder).rglob("*.json")))


serve.serve(work)
