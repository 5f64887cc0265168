"""The planner: what more capacity would change, and what using what we have better would change.

    scenario, facility → workload → replay of the federation → outcome → report

`quantity`, `facility` and `scenario` read what people write; `workload` makes the jobs; `world`
turns an option into sites and rules; `study` replays one point; `outcome` is what a point leaves.
Nothing here needs a hub.
"""
