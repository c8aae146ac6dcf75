"""Counted operations against closed forms."""

import jax
import jax.numpy as jnp
from jax import lax

from fnn.diagnostics import count_flops, flops_by_call


def f32(*shape):
    return jax.ShapeDtypeStruct(shape, jnp.float32)


def convolve(x, k, **settings):
    settings = {"window_strides": (1, 1), "padding": "SAME"} | settings
    return lax.conv_general_dilated(x, k, dimension_numbers=("NHWC", "HWIO", "NHWC"), **settings)


class TestProducts:
    def test_matrix_product(self):
        assert count_flops(jnp.matmul, f32(3, 5), f32(5, 7)) == 2 * 3 * 5 * 7

    def test_batched_contraction_over_two_axes(self):
        product = count_flops(
            lambda a, b: jnp.einsum("bijk,bjkl->bil", a, b), f32(2, 3, 4, 5), f32(2, 4, 5, 6)
        )
        assert product == 2 * 2 * 3 * 4 * 5 * 6

    def test_convolution(self):
        assert count_flops(convolve, f32(2, 9, 8, 3), f32(3, 5, 3, 4)) == 2 * (
            2 * 9 * 8 * 4 * 3 * 5 * 3
        )

    def test_convolution_with_stride_groups_and_dilation(self):
        counted = count_flops(
            lambda x, k: convolve(
                x, k, window_strides=(2, 2), feature_group_count=3, rhs_dilation=(2, 2)
            ),
            f32(2, 9, 8, 6),
            f32(3, 3, 2, 12),
        )
        assert counted == 2 * (2 * 5 * 4 * 12) * (3 * 3 * 2)

    def test_gradients_of_a_convolution_cost_as_much_as_it(self):
        x, k = f32(4, 6, 6, 3), f32(3, 3, 3, 8)
        forward = count_flops(convolve, x, k)

        def kernel_gradient(x, k, dy):
            return jax.vjp(lambda k: convolve(x, k), k)[1](dy)

        def input_gradient(x, k, dy):
            return jax.vjp(lambda x: convolve(x, k), x)[1](dy)

        assert count_flops(kernel_gradient, x, k, f32(4, 6, 6, 8)) == forward
        assert count_flops(input_gradient, x, k, f32(4, 6, 6, 8)) == forward


class TestElements:
    def test_one_an_output_element(self):
        assert count_flops(lambda x, y: jnp.exp(x) * y, f32(3, 4), f32(3, 4)) == 24

    def test_moving_is_free(self):
        def moving(x):
            return jnp.concatenate([x.T.reshape(3, 4)[::-1], jnp.zeros((1, 4))])[1:3, :2]

        assert count_flops(moving, f32(4, 3)) == 0

    def test_reductions_count_their_input(self):
        assert count_flops(jnp.sum, f32(3, 4)) == 12
        assert count_flops(lambda x: x.max(axis=0), f32(3, 4)) == 12
        assert count_flops(lambda x: lax.cumsum(x, axis=1), f32(3, 4)) == 12

    def test_windowed_reduction_counts_its_windows(self):
        def pool(x):
            return lax.reduce_window(x, -jnp.inf, lax.max, (1, 3, 3, 1), (1, 2, 2, 1), "VALID")

        assert count_flops(pool, f32(2, 7, 7, 5)) == 2 * 3 * 3 * 5 * 9

    def test_adding_scatter_counts_its_updates(self):
        def scatter(x, updates):
            dimensions = lax.ScatterDimensionNumbers((1,), (0,), (0,))
            return lax.scatter_add(x, jnp.zeros((3, 1), jnp.int32), updates, dimensions)

        assert count_flops(scatter, f32(10, 4), f32(3, 4)) == 12


class TestControlFlow:
    def test_scan_counts_every_round(self):
        def scanned(x):
            return lax.scan(lambda carry, _: (carry @ x, None), x, None, length=7)[0]

        assert count_flops(scanned, f32(4, 4)) == 7 * 2 * 4**3

    def test_while_counts_one_round(self):
        def loop(x):
            return lax.while_loop(lambda c: c[1] < 5, lambda c: (c[0] * x, c[1] + 1), (x, 0))[0]

        assert count_flops(loop, f32(6)) == 6 + 1 + 1  # the product, the count, the comparison

    def test_cond_counts_its_dearest_branch(self):
        def branching(x, which):
            return lax.cond(which, lambda x: x @ x, lambda x: x + x, x)

        flag = jax.ShapeDtypeStruct((), jnp.bool_)
        assert count_flops(branching, f32(4, 4), flag) == 2 * 4**3

    def test_platform_choice_counts_the_branch_of_this_platform(self):
        here = jax.default_backend()
        other = "tpu" if here != "tpu" else "cpu"

        def chosen(x):
            branches = {here: lambda x: x + x, other: lambda x: x @ x}
            return lax.platform_dependent(x, **branches)

        def default(x):
            return lax.platform_dependent(x, **{other: lambda x: x @ x}, default=lambda x: -x)

        assert count_flops(chosen, f32(4, 4)) == 16
        assert count_flops(default, f32(4, 4)) == 16

    def test_calls_are_entered(self):
        @jax.custom_vjp
        def cubed(x):
            return x * x * x

        cubed.defvjp(lambda x: (x * x * x, x), lambda x, dy: (3 * x * x * dy,))
        assert count_flops(lambda x: jax.jit(cubed)(x), f32(5)) == 10
        assert count_flops(jax.nn.relu, f32(5)) == 5
        assert count_flops(jax.checkpoint(lambda x: jnp.sin(x) * x), f32(5)) == 10


class TestUnused:
    def test_what_nobody_uses_is_not_counted(self):
        def wasteful(x):
            _ = x @ x
            return x + x

        assert count_flops(wasteful, f32(4, 4)) == 16

    def test_nor_within_a_call(self):
        @jax.jit
        def both(x):
            return x @ x, x + x

        assert count_flops(lambda x: both(x)[1], f32(4, 4)) == 16


def test_operations_by_call():
    @jax.jit
    def inner(x):
        return x @ x

    @jax.jit
    def outer(x):
        return inner(x) + x

    def program(x):
        scanned = lax.scan(lambda carry, _: (inner(carry), None), x, None, length=3)[0]
        return jnp.exp(outer(x)) + scanned

    counts = flops_by_call(jax.make_jaxpr(program)(f32(4, 4)), frozenset({"inner", "outer"}))
    product = 2 * 4**3
    assert counts == {"outer": product + 16, "inner": 3 * product, "": 32}


def test_keys_are_free():
    def draw(key):
        return jax.random.key_data(jax.random.fold_in(key, 3))

    assert count_flops(lambda: draw(jax.random.key(1))) == 0
