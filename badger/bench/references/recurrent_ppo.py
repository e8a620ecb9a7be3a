"""Recurrent PPO as sb3-contrib has it, on Gymnasium's CartPole: an LSTM that actor and critic share, one linear map for
each, no other networks."""

from typing import Any

PIP = "pip install sb3-contrib gymnasium"


def sb3_recurrent_ppo(
    *, rows: int, horizon: int, minibatches: int, epochs: int, hidden_size: int, learning_rate: float = 1e-3
) -> Any:
    """What one calls for an update: a rollout of `horizon` steps in each of `rows` worlds, and its epochs.

    Raises:
        ImportError: sb3-contrib is not installed.
    """
    from sb3_contrib import RecurrentPPO
    from stable_baselines3.common.env_util import make_vec_env

    steps = rows * horizon
    model = RecurrentPPO(
        "MlpLstmPolicy",
        make_vec_env("CartPole-v1", n_envs=rows, seed=0),
        learning_rate=learning_rate,
        n_steps=horizon,
        batch_size=steps // minibatches,
        n_epochs=epochs,
        policy_kwargs={
            "net_arch": [],
            "lstm_hidden_size": hidden_size,
            "shared_lstm": True,
            "enable_critic_lstm": False,
        },
        seed=0,
        device="cpu",
    )
    return lambda: model.learn(steps, reset_num_timesteps=False)
