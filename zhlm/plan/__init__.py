"""What a run will need on a pod that nobody holds: compiled ahead of time, read, and estimated on paper.

`topologies` names the chips and slices, `compiled` compiles the real step for one, `hlo` reads the compiled
text, `collectives` what it sends, `flops` what it multiplies, `roofline` how long that takes at least, and
`scaling` says the same from the layout alone. Nothing here runs on an accelerator: a time is an estimate.
"""
