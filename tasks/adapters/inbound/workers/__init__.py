"""Copies of an environment in worker processes.

- `tasks.adapters.inbound.workers.worker_pool`: the batch, as the trainer sees it. Start here.
- `tasks.adapters.inbound.workers.env_worker`: what a worker process does.
- `tasks.adapters.inbound.workers.shared_results`: results of all workers in shared memory.
- `tasks.adapters.inbound.workers.memory_file`: shared memory that has no name.
- `tasks.adapters.inbound.workers.worker_count`: how many workers are used where no number is given.
"""
