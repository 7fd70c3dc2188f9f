"""The same training step by PyTorch: nn.LSTM, gradient clipping, Adam."""

import numpy as np
import serve
import torch
from torch import nn

settings = serve.settings()
shape = (settings["batch_size"], settings["num_steps"])
tokens_BxT = torch.from_numpy(np.random.default_rng(0).integers(0, 413, shape)).long()
inputs_TxB = nn.functional.pad(tokens_BxT[:, :-1], (1, 0), value=413).T.contiguous()
labels_TxB = tokens_BxT.T.contiguous()
embedding, head = nn.Embedding(414, 512), nn.Linear(512, 413)
lstm = nn.LSTM(512, 512, num_layers=3)
parameters = [*embedding.parameters(), *lstm.parameters(), *head.parameters()]
optimizer = torch.optim.Adam(parameters, lr=1e-3)
half = settings["dtype"] == "bfloat16"


def work() -> int:
    """One step."""
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=half):
        logits_TxBxV = head(lstm(embedding(inputs_TxB))[0])
    loss = nn.functional.cross_entropy(logits_TxBxV.float().flatten(0, 1), labels_TxB.flatten())
    optimizer.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(parameters, 3.0)
    optimizer.step()
    return labels_TxB.numel()


serve.serve(work)
