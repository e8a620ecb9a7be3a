"""Games: guess a hidden vector from error feedback, the memory card game, the ballet, and Catch.

- `tasks.games.guessing_game`: `GuessingGame`, the task of the Badger papers: the only feedback on a guess is its error.
- `tasks.games.card_game`: `CardGame`, the memory card game for one player, as reinforcement learning.
- `tasks.games.card_game_imitation`: the same game as supervised imitation of a player with perfect memory.
- `tasks.games.ballet`: `Ballet`, dances that are watched, and one of them is named: the agent goes to its dancer.
- `tasks.games.ballet_recall`: the same as supervised recall. `tasks.games.dances` has what is danced and seen.
- `tasks.games.catch`: `Catch`, a paddle and a falling ball: the smallest game with a delayed reward.

```python
import torch
from tasks.games.guessing_game import GuessingGame

task, rng = GuessingGame(dims=4, steps=20), torch.Generator().manual_seed(0)
state, step = task.reset(3, rng)
state, step = task.step(state, state.target, rng)  # the correct answer
assert step.obs.abs().max() == 0  # the observation is the error of the last guess
```
"""
