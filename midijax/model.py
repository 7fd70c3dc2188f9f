"""PerformanceRNN: embedding, a stack of LSTM layers, and a projection to the next event.

Shapes: B batch, T time, L layers, H hidden (and embedding) size, G = 4H gates, V vocabulary,
S = V + 1 inputs, the events and START; C features of controls.
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
# Of the first embedding: layers add little at first, and beside much would be heard late.
RESIDUAL_EMBEDDING_DEVIATION = 0.1
CPU_BFLOAT16_ROWS = 2  # from which on XLA's CPU products of bfloat16 outrun those of float32


class StepLayer(NamedTuple):
    """One layer's parameters as `PerformanceRNN.step` takes them, matrices transposed.

    `norm` are those of the normalization before it, None without.
    """

    input_GxD: jax.Array
    recurrent_GxH: jax.Array
    bias_G: jax.Array
    norm: Any


class StepWeights(NamedTuple):
    """A model's parameters as `PerformanceRNN.step` takes them.

    Matrices hold values of the model's dtype and are transposed: a CPU multiplies a single row
    fastest with the rows of a matrix.

    Attributes:
      embedding_SxH: each input as the first layer passes it on, for residual stacks.
      projected_SxG: what each input adds to the first layer's gates, float32.
      layers: each layer's own; the first one's input is in the table above.
      head_VxH: the last product.
      head_bias_V: what is added to it.
      head_norm: of the normalization before it, None without.
    """

    embedding_SxH: jax.Array
    projected_SxG: jax.Array
    layers: tuple[StepLayer, ...]
    head_VxH: jax.Array
    head_bias_V: jax.Array
    head_norm: Any


layer_norm = functools.partial(nn.LayerNorm, use_bias=False)


class LSTMLayer(nn.Module):
    """One layer of the stack: `lstm.lstm`, then dropout of what it hands on.

    In training it leaves out some of its recurrent weights, the same ones all through a window.
    If `residual`, its inputs are normalized first, and what it hands on is added to them.
    """

    hidden_size: int
    dropout_rate: float
    recurrent_dropout_rate: float
    forget_bias: float
    dtype: str
    remat: bool
    residual: bool
    num_controls: int = 0

    @nn.compact
    def __call__(
        self,
        x_TxBxH: jax.Array,
        carry: lstm.Carry,
        deterministic: bool,
        embedding_SxH: jax.Array | None = None,
        controls_TxBxC: jax.Array | None = None,
    ) -> tuple[jax.Array, lstm.Carry]:
        """Outputs h_TxBxH and the carry (c_BxH, h_BxH) after the last step.

        With an embedding, x is ids (T, B): each is embedded and projected once, not at every step.
        """
        weights = self._weights()
        drop_weights = nn.Dropout(self.recurrent_dropout_rate, name="recurrent_dropout")
        recurrent_HxG = drop_weights(weights.recurrent_HxG, deterministic=deterministic)
        weights = weights._replace(recurrent_HxG=recurrent_HxG)
        to_project = x_TxBxH if embedding_SxH is None else embedding_SxH
        if self.residual:
            to_project = layer_norm(name="norm")(to_project)
        if embedding_SxH is None:
            x_TxBxD = to_project
        else:
            table_SxG = lstm.matmul(to_project, weights.input_DxG, self.dtype)
            weights = weights._replace(input_DxG=table_SxG)
            x_TxBxD, x_TxBxH = x_TxBxH, embedding_SxH[x_TxBxH]
        h_TxBxH, carry = lstm.lstm(weights, x_TxBxD, carry, self.dtype, self.remat, controls_TxBxC)
        h_TxBxH = nn.Dropout(self.dropout_rate)(h_TxBxH, deterministic=deterministic)
        return x_TxBxH + h_TxBxH if self.residual else h_TxBxH, carry

    def _weights(self) -> lstm.Weights:
        size = self.hidden_size
        side = None
        if self.num_controls:
            side = self.param("controls", nn.initializers.zeros, (self.num_controls, 4 * size))
        return lstm.Weights(
            self.param("input", nn.initializers.lecun_normal(), (size, 4 * size)),
            self.param("recurrent", nn.initializers.orthogonal(), (size, 4 * size)),
            self.param("bias", self._initial_bias, (4 * size,)),
            side,
        )

    def _initial_bias(self, key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
        gate = jnp.arange(shape[0]) // self.hidden_size
        return jnp.where(gate == 1, jnp.float32(self.forget_bias), 0.0)


class PerformanceRNN(nn.Module):
    """An LSTM language model over performance events (Oore et al. 2018).

    With `residual`, each layer adds to its inputs and sees them through a layer normalization, as
    does the head (the pre-norm form of Xiong et al. 2020). The `controls` of events to come are
    features that the first layer sees beside each event; all zero, they say nothing.

    The input before the first event is the id `vocab_size` (START), always with the zero carry, so
    that events e0 e1 e2 are predicted from the inputs START e0 e1. The layers' parameters are
    stacked along a leading axis L by `nn.scan`.
    """

    vocab_size: int
    num_layers: int
    hidden_size: int
    dropout_rate: float = 0.0
    recurrent_dropout_rate: float = 0.0
    forget_bias: float = 1.0
    dtype: str = "float32"
    remat: bool = False
    residual: bool = False
    num_controls: int = 0

    @nn.compact
    def __call__(
        self,
        inputs_BxT: jax.Array,
        carry: Carry,
        deterministic: bool = True,
        controls_BxTxC: jax.Array | None = None,
    ) -> tuple[jax.Array, Carry]:
        """Predicts, at every position, the event that follows.

        Args:
          inputs_BxT: event ids, or START; int32.
          carry: the state before the first position, `initial_carry(B)` or one returned earlier.
          deterministic: no dropout; else an rng named "dropout" is needed.
          controls_BxTxC: what is said of the event to come and those after it, see
            `midijax.controls`; None says nothing.

        Returns:
          logits_BxTxV, float32, and the carry after the last position.
        """
        embedding = nn.Embed(
            self.vocab_size + 1,
            self.hidden_size,
            embedding_init=nn.initializers.normal(
                RESIDUAL_EMBEDDING_DEVIATION if self.residual else 1.0
            ),
            name="embedding",
        )
        layer = (
            self.hidden_size,
            self.dropout_rate,
            self.recurrent_dropout_rate,
            self.forget_bias,
            self.dtype,
            self.remat,
            self.residual,
        )
        first_layer = LSTMLayer(*layer, self.num_controls, name="first_layer")
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
        controls_TxBxC = None if controls_BxTxC is None else controls_BxTxC.swapaxes(0, 1)
        h_TxBxH, first_carry = first_layer(
            inputs_BxT.T, first_carry, deterministic, embedding.embedding, controls_TxBxC
        )
        if self.num_layers > 1:
            h_TxBxH, further_carries = further_layers(h_TxBxH, further_carries, deterministic)
        if self.residual:
            h_TxBxH = layer_norm(name="head_norm")(h_TxBxH)
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
        embedding_SxH = params["embedding"]["embedding"]
        normalized_SxH = _normalize(layers[0].get("norm"), embedding_SxH)
        return StepWeights(
            embedding_SxH=embedding_SxH,
            projected_SxG=lstm.project(first, normalized_SxH, self.dtype),
            layers=tuple(
                StepLayer(
                    lay_out(layer["input"]),
                    lay_out(layer["recurrent"]),
                    layer["bias"],
                    layer.get("norm"),
                )
                for layer in layers
            ),
            head_VxH=lay_out(params["head"]["kernel"]),
            head_bias_V=params["head"]["bias"].astype(self.dtype),
            head_norm=params.get("head_norm"),
        )

    def step(
        self,
        weights: StepWeights,
        inputs_B: jax.Array,
        carry: Carry,
        controls_BxG: jax.Array | None = None,
    ) -> tuple[jax.Array, Carry]:
        """One position, without dropout: inputs_B to logits_BxV, float32, and the next carry.

        `controls_BxG` are controls as `project_controls` gives them.
        """
        x_BxH = weights.embedding_SxH[inputs_B]
        gates_BxG = weights.projected_SxG[inputs_B]
        if controls_BxG is not None:
            gates_BxG += controls_BxG
        carries: list[lstm.Carry] = []
        for layer, c_BxH, h_BxH in zip(weights.layers, *carry, strict=True):
            if carries:
                normalized_BxH = _normalize(layer.norm, x_BxH)
                gates_BxG = self._product(normalized_BxH, layer.input_GxD) + layer.bias_G
            gates_BxG += self._product(h_BxH, layer.recurrent_GxH)
            (c_BxH, h_BxH), _ = lstm.update(gates_BxG, c_BxH)
            carries.append((c_BxH, h_BxH))
            x_BxH = x_BxH + h_BxH if self.residual else h_BxH
        c_LxBxH, h_LxBxH = map(jnp.stack, zip(*carries, strict=True))
        x_BxH = _normalize(weights.head_norm, x_BxH)
        logits_BxV = self._product(x_BxH, weights.head_VxH) + weights.head_bias_V
        return logits_BxV, (c_LxBxH, h_LxBxH)

    def project_controls(self, params: Any, controls_C: jax.Array) -> jax.Array:
        """What controls (..., C) add to the first layer's gates, (..., G), float32."""
        return lstm.matmul(controls_C, params["first_layer"]["controls"], self.dtype)

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


def _normalize(norm: Any, x_H: jax.Array) -> jax.Array:
    if norm is None:
        return x_H
    return jnp.asarray(layer_norm(parent=None).apply({"params": norm}, x_H))


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
        recurrent_dropout_rate=model.recurrent_dropout_rate,
        forget_bias=model.forget_bias,
        dtype=model.dtype,
        remat=model.remat,
        residual=model.residual,
        num_controls=config.controls.num_features,
    )


def init(model: PerformanceRNN, key: jax.Array) -> nn.FrozenDict:
    """Fresh parameters."""
    return model.init(key, jnp.zeros((1, 1), jnp.int32), model.initial_carry(1))["params"]
