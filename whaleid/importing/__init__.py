"""Photos as people have them, made into a catalogue or added to one."""
