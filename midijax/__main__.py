"""Says which commands there are."""

COMMANDS = """midijax learns how pianists play, and plays new music. Its commands, each with --help:

  python -m midijax.explore    what is in your MIDI files
  python -m midijax.prepare    makes a folder of recordings ready for training
  python -m midijax.train      trains a model
  python -m midijax.sample     lets it play
  python -m midijax.evaluate   measures how well it predicts performances
  python -m midijax.export     makes of it a model to pass on"""

if __name__ == "__main__":
    print(COMMANDS)
