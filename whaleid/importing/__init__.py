"""Commands `import` and `add`: read photos from many kinds of sources, check them, and write them to a catalogue."""
