"""A campaign that does real work in seconds: what the crash test runs."""

NAME = "chaos"

CAMPAIGN = f"""\
# Small aluminium clusters in boxes; labels from an analytic potential. Nothing here is physics.
name: {NAME}
seed: 7
system:
  elements: [Al]
  builders:
    - {{kind: random_box, composition: {{Al: 1}}, atoms: [4, 8], density_g_per_cm3: [1.6, 2.4]}}
label:
  primary: gupta
  batch_size: 6
  levels: {{gupta: {{kind: analytic}}}}
model: {{kind: ani, members: 2, hidden: [8], radial_cutoff_A: 4.0, angular_cutoff_A: 3.5}}
train: {{epochs: 2, warm_epochs: 2, minimum_steps: 0, folds: 2, checkpoint_minutes: 0}}
sample:
  kind: nemd
  tasks: 6
  replicas: 4
  rounds: 1
  timestep_fs: 2.0
  duration_ps: 0.1
  temperature_K: {{start: [300, 900], end: [300, 900]}}
acquire:
  kind: threshold
  per_iteration: 24
  grace_fs: 0
  energy_spread_meV: 0.001
  rejected_factor: 1.0e+9
test:
  count: 12
  builders:
    - {{kind: random_box, composition: {{Al: 1}}, atoms: [4, 8], density_g_per_cm3: [1.6, 2.4]}}
loop: {{bootstrap: 132, max_iterations: 2}}
"""
"""A campaign file with some two hundred labels, three generations, and many short tasks."""
