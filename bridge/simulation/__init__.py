"""A discrete-event simulation: the bridge's own decisions on a trace of jobs, in virtual time.

`bridge.core.plan` decides as in production. GitHub and RunPod are simple models (`bridge.simulation.cloud`): each call
succeeds at once, each pass sees everything, no worker fails, and a job runs on the first free runner of its route. So
the results compare configurations; they do not predict what calls, failures or long image pulls cost.
"""
