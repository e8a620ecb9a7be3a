"""Studies of learners from recorded episodes.

- `badger.study.recordings.offline`: `OFFLINE`, Decision Transformers and behavior cloning on recordings of random
  actions.
"""
