"""The methods of a check, each a pure function of a `Trial` that can be called alone.

Autodiff is the reference of `reverse`, `forward`, `jacobian` and `second_order`; the forward pass alone
that of `differences`, `complex_step` and `kinks`; the backward itself, run in another way, that of
`contract`, `transforms` and `low_precision`.
"""
