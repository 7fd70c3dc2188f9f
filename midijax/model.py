"""PerformanceRNN: embedding, a stack of LSTM layers, and a projection to the next event.

Shapes: B batch, T time, L layers, H hidden (and embedding) size, G = 4H gates, V vocabulary,
S = V + 1 inputs, the events and START.
"""

import functools
import operator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn

from midijax import lstm
from midijax.config import Config

Carry = tuple[jax.Array, jax.Array]  # (c_LxBxH, h_LxBxH), float32
CPU_BFLOAT16_ROWS = 2  # from which on XLA's CPU products of bfloat16 outrun those of float32


class StepLayer(NamedTuple):
    """One layer's parameters as `PerformanceRNN.step` takes them, matrices transposed."""

    input_GxD: jax.Array
    recurrent_GxH: jax.Array
    bias_G: jax.Array


class StepWeights(NamedTuple):
    """A model's parameters as `PerformanceRNN.step` takes them.

    Matrices hold values of the model's dtype and are transposed: a CPU multiplies a single row
    fastest with the rows of a matrix.

    Attributes:
      projected_SxG: what each input adds to the first layer's gates, float32.
      layers: each layer's own; the first one's input is in the table above.
      head_VxH: the last product.
      head_bias_V: what is added to it.
    """

    projected_SxG: jax.Array
    layers: tuple[StepLayer, ...]
    head_VxH: jax.Array
    head_bias_V: jax.Array


class LSTMLayer(nn.Module):
    """One layer of the stack: `lstm.lstm`, then dropout of what it hands on."""

    hidden_size: int
    dropout_rate: float
    forget_bias: float
    dtype: str
    remat: bool

    @nn.compact
    def __call__(
        self,
        x_TxBxH: jax.Array,
        carry: lstm.Carry,
        deterministic: bool,
        embedding_SxH: jax.Array | None = None,
    ) -> tuple[jax.Array, lstm.Carry]:
        """Outputs h_TxBxH and the carry (c_BxH, h_BxH) after the last step.

        With an embedding, x is ids (T, B): each is embedded and projected once, not at every step.
        """
        size = self.hidden_size
        weights = lstm.Weights(
            self.param("input", nn.initializers.lecun_normal(), (size, 4 * size)),
            self.param("recurrent", nn.initializers.orthogonal(), (size, 4 * size)),
            self.param("bias", self._initial_bias, (4 * size,)),
        )
        if embedding_SxH is not None:
            table_SxG = lstm.matmul(embedding_SxH, weights.input_DxG, self.dtype)
            weights = weights._replace(input_DxG=table_SxG)
        h_TxBxH, carry = lstm.lstm(weights, x_TxBxH, carry, self.dtype, self.remat)
        return nn.Dropout(self.dropout_rate)(h_TxBxH, deterministic=deterministic), carry

    def _initial_bias(self, key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
        gate = jnp.arange(shape[0]) // self.hidden_size
        return jnp.where(gate == 1, jnp.float32(self.forget_bias), 0.0)


class PerformanceRNN(nn.Module):
    """An LSTM language model over performance events (Oore et al. 2018).

    The input before the first event is the id `vocab_size` (START), always with the zero carry, so
    that events e0 e1 e2 are predicted from the inputs START e0 e1. The layers' parameters are
    stacked along a leading axis L by `nn.scan`.
    """

    vocab_size: int
    num_layers: int
    hidden_size: int
    dropout_rate: float = 0.0
    forget_bias: float = 1.0
    dtype: str = "float32"
    remat: bool = False

    @nn.compact
    def __call__(
        self, inputs_BxT: jax.Array, carry: Carry, deterministic: bool = True
    ) -> tuple[jax.Array, Carry]:
        """Predicts, at every position, the event that follows.

        Args:
          inputs_BxT: event ids, or START; int32.
          carry: the state before the first position, `initial_carry(B)` or one returned earlier.
          deterministic: no dropout; else an rng named "dropout" is needed.

        Returns:
          logits_BxTxV, float32, and the carry after the last position.
        """
        embedding = nn.Embed(
            self.vocab_size + 1,
            self.hidden_size,
            embedding_init=nn.initializers.normal(1.0),
            name="embedding",
        )
        layer = self.hidden_size, self.dropout_rate, self.forget_bias, self.dtype, self.remat
        first_layer = LSTMLayer(*layer, name="first_layer")
        further_layers = nn.scan(
            LSTMLayer,
            variable_axes={"params": 0},
            split_rngs={"params": True, "dropout": True},
            in_axes=(0, nn.broadcast),
            length=self.num_layers - 1,
            unroll=self.num_layers - 1,
        )(*layer, name="further_layers")
        head = nn.Dense(
            self.vocab_size,
            dtype=self.dtype,
            dot_general=functools.partial(jax.lax.dot_general, preferred_element_type=jnp.float32),
            name="head",
        )
        first_carry, further_carries = _split(carry)
        h_TxBxH, first_carry = first_layer(
            inputs_BxT.T, first_carry, deterministic, embedding.embedding
        )
        if self.num_layers > 1:
            h_TxBxH, further_carries = further_layers(h_TxBxH, further_carries, deterministic)
        return head(h_TxBxH).swapaxes(0, 1), _join(first_carry, further_carries)

    def step_weights(self, params: Any, batch_size: int) -> StepWeights:
        """The parameters as `step` takes them, to be laid out once before a loop of steps.

        Layers are taken out of their stack, which a loop would do at every step by copying all of
        their weights. Embedding and first input product become a table, one row for each of the S
        inputs there are. Values are rounded to the model's dtype, as in training; but where that is
        bfloat16 and rows are few on a CPU, they are stored as float32, for XLA would turn them into
        float32 at every step.
        """
        few_rows = batch_size < CPU_BFLOAT16_ROWS and jax.default_backend() == "cpu"
        stored = jnp.float32 if few_rows and self.dtype == "bfloat16" else self.dtype

        def lay_out(matrix_DxG: jax.Array) -> jax.Array:
            rounded_GxD = matrix_DxG.T.astype(self.dtype).astype(stored)
            return jax.lax.optimization_barrier(rounded_GxD)  # else XLA transposes in the loop

        layers = [params["first_layer"]]
        for index in range(self.num_layers - 1):
            layers.append(jax.tree.map(operator.itemgetter(index), params["further_layers"]))
        first = lstm.Weights(layers[0]["input"], layers[0]["recurrent"], layers[0]["bias"])
        return StepWeights(
            projected_SxG=lstm.project(first, params["embedding"]["embedding"], self.dtype),
            layers=tuple(
                StepLayer(lay_out(layer["input"]), lay_out(layer["recurrent"]), layer["bias"])
                for layer in layers
            ),
            head_VxH=lay_out(params["head"]["kernel"]),
            head_bias_V=params["head"]["bias"].astype(self.dtype),
        )

    def step(
        self, weights: StepWeights, inputs_B: jax.Array, carry: Carry
    ) -> tuple[jax.Array, Carry]:
        """One position, without dropout: inputs_B to logits_BxV, float32, and the next carry."""
        gates_BxG = weights.projected_SxG[inputs_B]
        carries: list[lstm.Carry] = []
        for layer, c_BxH, h_BxH in zip(weights.layers, *carry, strict=True):
            if carries:
                gates_BxG = self._product(carries[-1][1], layer.input_GxD) + layer.bias_G
            gates_BxG += self._product(h_BxH, layer.recurrent_GxH)
            after, _ = lstm.update(gates_BxG, c_BxH)
            carries.append(after)
        c_LxBxH, h_LxBxH = map(jnp.stack, zip(*carries, strict=True))
        logits_BxV = self._product(carries[-1][1], weights.head_VxH) + weights.head_bias_V
        return logits_BxV, (c_LxBxH, h_LxBxH)

    def _product(self, x_BxD: jax.Array, matrix_GxD: jax.Array) -> jax.Array:
        """`lstm.matmul` with a transposed matrix; said as `.T`, XLA would turn it back."""
        rounded_BxD = x_BxD.astype(self.dtype).astype(matrix_GxD.dtype)
        sums = jnp.promote_types(self.dtype, jnp.float32)
        last_axes = (((1,), (1,)), ((), ()))
        return jax.lax.dot_general(rounded_BxD, matrix_GxD, last_axes, preferred_element_type=sums)

    @property
    def start(self) -> int:
        """The input before the first event."""
        return self.vocab_size

    def initial_carry(self, batch_size: int) -> Carry:
        """The state that remembers nothing."""
        zeros_LxBxH = jnp.zeros((self.num_layers, batch_size, self.hidden_size))
        return zeros_LxBxH, zeros_LxBxH


def _split(carry: Carry) -> tuple[lstm.Carry, Carry]:
    """The first layer's carry, and the others' along their axis L."""
    return jax.tree.map(lambda x: x[0], carry), jax.tree.map(lambda x: x[1:], carry)


def _join(first: lstm.Carry, further: Carry) -> Carry:
    return jax.tree.map(lambda x, rest: jnp.concatenate((x[None], rest)), first, further)


def from_config(config: Config) -> PerformanceRNN:
    """The model a config describes."""
    model = config.model
    return PerformanceRNN(
        vocab_size=config.vocabulary.size,
        num_layers=model.num_layers,
        hidden_size=model.hidden_size,
        dropout_rate=model.dropout_rate,
        forget_bias=model.forget_bias,
        dtype=model.dtype,
        remat=model.remat,
    )


def init(model: PerformanceRNN, key: jax.Array) -> nn.FrozenDict:
    """Fresh parameters."""
    return model.init(key, jnp.zeros((1, 1), jnp.int32), model.initial_carry(1))["params"]


def shift_right(tokens_BxT: jax.Array, start: int) -> jax.Array:
    """The inputs from which `tokens_BxT` are predicted: START, then all but the last."""
    return jnp.pad(tokens_BxT[:, :-1], ((0, 0), (1, 0)), constant_values=start)
