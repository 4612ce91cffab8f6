"""The operators on a GPU from Python: loaded by path, known to PyTorch's own checks, and with the CPU's answers.

    gpu_ops_test.py FOLDER   that holds libdnamamba_ops.so and libdnamamba_cuda.so"""

import sys
import unittest

import torch

FOLDER = sys.argv.pop(1)
CHECKS = ("test_schema", "test_autograd_registration", "test_faketensor")


def arguments(device, dtype, T=300, E=64, N=16):
    """x, delta, A, B, C, D, z, bias, offsets and initial state of selective_scan, of values that bfloat16 has."""
    torch.manual_seed(7)
    wide = torch.float32 if dtype == torch.bfloat16 else dtype

    def leaf(values, dtype):
        return values.to(torch.bfloat16).to(device, dtype).requires_grad_()

    x, delta, B, C, z = (leaf(torch.randn(T, width), dtype) for width in (E, E, N, N, E))
    A, D, bias, state = (leaf(values, wide) for values in
                         (-torch.rand(E, N) - 0.1, torch.randn(E), torch.randn(E), torch.randn(2, E, N)))
    return [x, delta, A, B, C, D, z, bias, torch.tensor([0, 100, T]), state]


class OnGpu(unittest.TestCase):
    def test_opcheck(self):
        for dtype in (torch.float32, torch.bfloat16):
            given = arguments("cuda", dtype)
            given[8], given[9] = None, given[9][:1].detach().requires_grad_()  # tensors without data are all of one device
            torch.library.opcheck(torch.ops.dnamamba.selective_scan.default, tuple(given), {"want_final_state": True},
                                  test_utils=CHECKS)

    def test_equals_the_cpu(self):
        for dtype, allowed in ((torch.float32, 1e-5), (torch.bfloat16, 6e-3)):
            answers = []
            for device, type in (("cpu", torch.float64), ("cuda", dtype)):
                given = arguments(device, type)
                y, state = torch.ops.dnamamba.selective_scan(*given, True)
                (y.double().sum() + state.double().sum()).backward()
                answers.append([y, state] + [t.grad for t in given if t.requires_grad])
            for expected, actual in zip(*answers):
                error = (actual.double().cpu() - expected).norm() / expected.norm()
                self.assertLess(error.item(), allowed)

    def test_the_backward_pass_finds_by_itself_what_the_forward_pass_may_keep_for_it(self):
        for dtype in (torch.float32, torch.bfloat16):
            for states in (5, 8, 16, 40):
                given = [t.detach() if t is not None else t for t in arguments("cuda", dtype, T=1000, N=states)]
                y, _, kept = torch.ops.dnamamba.selective_scan_keeping(*given)
                backward = torch.ops.dnamamba.selective_scan_backward
                dy = torch.ones_like(y)
                for expected, actual in zip(backward(dy, None, *given, False, kept), backward(dy, None, *given)):
                    self.assertTrue(torch.equal(expected, actual))


if __name__ == "__main__":
    if not torch.cuda.is_available():
        sys.exit("no GPU")
    torch.ops.load_library(FOLDER + "/libdnamamba_ops.so")
    torch.ops.load_library(FOLDER + "/libdnamamba_cuda.so")
    unittest.main()
