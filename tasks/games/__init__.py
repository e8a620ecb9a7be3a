"""Games for several experts.

guessing_game.py          `GuessingGame`: find a hidden vector, given nothing but the error of the last guess
card_game.py              `CardGame`: the memory card game, with a reward for each pair
card_game_imitation.py    `CardLesson`: the same game by imitation of a player who forgets nothing
"""
