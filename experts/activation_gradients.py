"""Gradients of activations from their outputs, for backward passes written by hand.

Shapes: any; the last axis is that of a softmax.
"""

from torch import Tensor


def sigmoid_backward(grad: Tensor, output: Tensor) -> Tensor:
    """Gradient of the input of a sigmoid.

    Args:
        grad: gradient of the output.
        output: of the sigmoid.
    """
    return grad * output * (1 - output)


def tanh_backward(grad: Tensor, output: Tensor) -> Tensor:
    """Gradient of the input of a tanh.

    Args:
        grad: gradient of the output.
        output: of the tanh.
    """
    return grad * (1 - output * output)


def softmax_backward(grad: Tensor, output: Tensor) -> Tensor:
    """Gradient of the input of a softmax over the last axis.

    Args:
        grad: gradient of the output.
        output: of the softmax.
    """
    return output * (grad - (grad * output).sum(-1, keepdim=True))
