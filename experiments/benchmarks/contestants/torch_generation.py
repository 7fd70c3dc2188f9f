"""The same model played by PyTorch, a Python loop of steps, eager or compiled.

In the form "nn.LSTM" as most would write it; in the form "matrix products" with the first layer's
input product as a table and one product for each further layer. It runs on as many threads as turn
out fastest.
"""

import functools
import time
from collections.abc import Sequence

import serve
import torch
from torch import nn
from torch._inductor import config as inductor

settings = serve.settings()
dtype = getattr(torch, settings["dtype"])
batch_size, top_p = settings["batch_size"], settings["top_p"]
State = Sequence[torch.Tensor]  # all h, then all c


class Layers(nn.Module):
    """Embedding, nn.LSTM, head."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.head = nn.Embedding(414, 512), nn.Linear(512, 413)
        self.lstm = nn.LSTM(512, 512, num_layers=3)

    def initial_state(self) -> State:
        """The state before the first step."""
        return tuple(torch.zeros(3, batch_size, 512, dtype=dtype) for _ in range(2))

    def forward(self, token_B: torch.Tensor, state: State) -> tuple[torch.Tensor, State]:
        """Logits and the next state."""
        h_1xBxH, state = self.lstm(self.embedding(token_B)[None], state)
        return self.head(h_1xBxH[0]), state


class Products(nn.Module):
    """A table, one matrix product per layer, head."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.head = nn.Embedding(414, 2048), nn.Linear(512, 413)
        self.first = nn.Linear(512, 2048, bias=False)
        self.further = nn.ModuleList(nn.Linear(1024, 2048) for _ in range(2))

    def initial_state(self) -> State:
        """The state before the first step."""
        return tuple(torch.zeros(batch_size, 512, dtype=dtype) for _ in range(6))

    def forward(self, token_B: torch.Tensor, state: State) -> tuple[torch.Tensor, State]:
        """Logits and the next state."""
        gates_BxG = self.table(token_B) + self.first(state[0])
        h_BxH, c_BxH = cell(gates_BxG, state[3])
        hs, cs = [h_BxH], [c_BxH]
        for layer, h_before, c_before in zip(self.further, state[1:3], state[4:], strict=True):
            h_BxH, c_BxH = cell(layer(torch.cat((h_BxH, h_before), 1)), c_before)
            hs.append(h_BxH)
            cs.append(c_BxH)
        return self.head(h_BxH), (*hs, *cs)


def cell(gates_BxG: torch.Tensor, c_BxH: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The next h and c."""
    i, f, g, o = gates_BxG.chunk(4, 1)
    c_BxH = f.sigmoid() * c_BxH + i.sigmoid() * g.tanh()
    return o.sigmoid() * c_BxH.tanh(), c_BxH


def draw(logits_BxV: torch.Tensor) -> torch.Tensor:
    """One event per row: what torch.multinomial does, without its checks."""
    probability_BxV = logits_BxV.float().softmax(-1)
    if top_p < 1:
        sorted_BxV, order_BxV = probability_BxV.sort(-1, descending=True)
        sorted_BxV[sorted_BxV.cumsum(-1) - sorted_BxV >= top_p] = 0
        probability_BxV = torch.zeros_like(sorted_BxV).scatter(-1, order_BxV, sorted_BxV)
    return (probability_BxV / torch.empty_like(probability_BxV).exponential_()).argmax(-1)


def step(token_B: torch.Tensor, state: State) -> tuple[torch.Tensor, State]:
    """The next event of each row, and the state."""
    logits_BxV, state = model(token_B, state)
    return draw(logits_BxV), state


@torch.inference_mode()
def play(num_steps: int) -> None:
    """One batch of performances."""
    token_B, state = torch.full((batch_size,), 413), model.initial_state()
    tokens = []
    for _ in range(num_steps):
        token_B, state = step(token_B, state)
        tokens.append(token_B)
    torch.stack(tokens, 1).numpy()


def seconds(num_threads: int) -> float:
    """What a short performance takes."""
    torch.set_num_threads(num_threads)
    play(16)
    start = time.perf_counter()
    play(128)
    return time.perf_counter() - start


@functools.cache
def settle() -> None:
    """Finds the best number of threads, in the first turn, when no other contestant runs."""
    torch.set_num_threads(min((1, torch.get_num_threads()), key=seconds))


def work() -> int:
    """One batch of performances."""
    settle()
    play(settings["num_steps"])
    return batch_size * settings["num_steps"]


FORMS: dict[str, type[nn.Module]] = {"nn.LSTM": Layers, "matrix products": Products}
model = FORMS[settings["form"]]().to(dtype)
if settings["compiled"]:
    inductor.freezing = True  # weights become constants, laid out once
    step = torch.compile(step, dynamic=False)
serve.serve(work)
