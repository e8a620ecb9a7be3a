"""Recurrent PPO of sb3-contrib on Gymnasium's CartPole.

Actor and critic share an LSTM; each has one linear layer and no further network.
"""

from typing import Any

PIP = "pip install sb3-contrib gymnasium"
"""The command that installs the packages of this reference."""


def sb3_recurrent_ppo(
    *, rows: int, horizon: int, minibatches: int, epochs: int, hidden_size: int, learning_rate: float = 1e-3
) -> Any:
    """Returns a function that runs one update: a rollout and its epochs.

    Args:
        rows: number of environments.
        horizon: rollout steps of each.
        minibatches: per epoch.
        epochs: per rollout.
        hidden_size: of the LSTM.
        learning_rate: of Adam.

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
