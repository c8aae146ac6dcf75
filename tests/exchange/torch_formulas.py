"""torch's layers in NumPy, loop by loop, from the formulas of its documentation, with its weights.

Images are (N, C, H, W) here, sequences (N, T, D).
"""

import numpy as np


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def linear(w, x):
    return x @ w["weight"].T + w["bias"]


def convolution(w, x, stride, padding, groups):
    """``out[n, f] = bias[f] + Σ_c weight[f, c] ⋆ x[n, c]``, c in the group of f."""
    weight, bias = w["weight"], w.get("bias")
    x = np.pad(x, [(0, 0), (0, 0), (padding, padding), (padding, padding)])
    features, inputs, h, v = weight.shape
    rows, columns = ((size - k) // stride + 1 for size, k in zip(x.shape[2:], (h, v), strict=True))
    y = np.zeros((len(x), features, rows, columns))
    for f in range(features):
        first = f // (features // groups) * inputs
        for i in range(rows):
            for j in range(columns):
                seen = x[
                    :,
                    first : first + inputs,
                    i * stride : i * stride + h,
                    j * stride : j * stride + v,
                ]
                y[:, f, i, j] = (seen * weight[f]).sum(axis=(1, 2, 3))
    return y if bias is None else y + bias[:, None, None]


def transposed_convolution(w, x, stride, padding, output_padding, groups):
    """Every pixel writes its window; ``(H - 1) stride - 2 padding + h + output_padding`` rows."""
    weight, bias = w["weight"], w["bias"]
    channels, features, h, v = weight.shape
    sizes = [
        (n - 1) * stride + k + output_padding for n, k in zip(x.shape[2:], (h, v), strict=True)
    ]
    y = np.zeros((len(x), features * groups, *sizes))
    for c in range(channels):
        first = c // (channels // groups) * features
        for i in range(x.shape[2]):
            for j in range(x.shape[3]):
                window = x[:, c, i, j][:, None, None, None] * weight[c]
                place = np.s_[
                    :,
                    first : first + features,
                    i * stride : i * stride + h,
                    j * stride : j * stride + v,
                ]
                y[place] += window
    y = y[:, :, padding : sizes[0] - padding, padding : sizes[1] - padding]
    return y + bias[:, None, None]


def batch_norm(w, x, eps=1e-5):
    shape = (-1, 1, 1)
    normal = (x - w["running_mean"].reshape(shape)) / np.sqrt(w["running_var"].reshape(shape) + eps)
    return normal * w["weight"].reshape(shape) + w["bias"].reshape(shape)


def layer_norm(w, x, eps=1e-5):
    normal = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + eps)
    return normal * w["weight"] + w["bias"]


def lstm(w, x, suffix="l0", reverse=False):
    h = c = np.zeros((len(x), w[f"weight_hh_{suffix}"].shape[1]))
    y = np.zeros((*x.shape[:2], h.shape[1]))
    for t in reversed(range(x.shape[1])) if reverse else range(x.shape[1]):
        z = x[:, t] @ w[f"weight_ih_{suffix}"].T + w[f"bias_ih_{suffix}"]
        z = z + h @ w[f"weight_hh_{suffix}"].T + w[f"bias_hh_{suffix}"]
        i, f, g, o = np.split(z, 4, axis=1)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        y[:, t] = h = sigmoid(o) * np.tanh(c)
    return y


def gru(w, x):
    h = np.zeros((len(x), w["weight_hh_l0"].shape[1]))
    y = np.zeros((*x.shape[:2], h.shape[1]))
    for t in range(x.shape[1]):
        a = np.split(x[:, t] @ w["weight_ih_l0"].T + w["bias_ih_l0"], 3, axis=1)
        b = np.split(h @ w["weight_hh_l0"].T + w["bias_hh_l0"], 3, axis=1)
        r, z = sigmoid(a[0] + b[0]), sigmoid(a[1] + b[1])
        n = np.tanh(a[2] + r * b[2])
        y[:, t] = h = (1 - z) * n + z * h
    return y


def rnn(w, x):
    h = np.zeros((len(x), w["weight_hh_l0"].shape[1]))
    y = np.zeros((*x.shape[:2], h.shape[1]))
    for t in range(x.shape[1]):
        a = x[:, t] @ w["weight_ih_l0"].T + w["bias_ih_l0"]
        y[:, t] = h = np.tanh(a + h @ w["weight_hh_l0"].T + w["bias_hh_l0"])
    return y


def attention(w, x, heads):
    """``softmax(q kᵀ / √d) v`` by head, of x to itself."""
    q, k, v = np.split(x @ w["in_proj_weight"].T + w["in_proj_bias"], 3, axis=-1)
    width = q.shape[-1] // heads
    out = np.zeros_like(x)
    for n in range(len(x)):
        for head in range(heads):
            part = np.s_[n, :, head * width : (head + 1) * width]
            scores = np.exp(q[part] @ k[part].T / np.sqrt(width))
            out[part] = scores / scores.sum(-1, keepdims=True) @ v[part]
    return out @ w["out_proj.weight"].T + w["out_proj.bias"]
