"""whaleid: tells individual humpback whales apart by their flukes."""
