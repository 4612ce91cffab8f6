"""The operator library from Python: loaded by path, known to PyTorch's own checks, and right by a plain definition.

    ops_test.py PATH/libdnamamba_ops.so"""

import sys
import unittest

import torch
import torch.nn.functional as F

LIBRARY = sys.argv.pop(1)
CHECKS = ("test_schema", "test_autograd_registration", "test_faketensor")


def leaf(*shape, dtype=torch.float64):
    return torch.randn(*shape, dtype=dtype).requires_grad_()


def plain_scan(x, delta, A, B, C, D, z, bias, offsets, state):
    """The selective scan by its equations, token by token."""
    dt, ys, finals = F.softplus(delta + bias), [], []
    for s, (begin, end) in enumerate(zip(offsets[:-1].tolist(), offsets[1:].tolist())):
        h = state[s]
        for t in range(begin, end):
            h = torch.exp(dt[t, :, None] * A) * h + dt[t, :, None] * B[t] * x[t, :, None]
            ys.append((h @ C[t] + D * x[t]) * F.silu(z[t]))
        finals.append(h)
    return torch.stack(ys), torch.stack(finals)


def plain_ssd(x, dt, A, B, C, D, bias, offsets, state, least, most):
    """Mamba-2's recurrence by its equations, token by token."""
    per_group = x.shape[1] // B.shape[1]
    B, C = B.repeat_interleave(per_group, 1), C.repeat_interleave(per_group, 1)
    dt, ys, finals = F.softplus(dt + bias).clamp(least, most), [], []
    for s, (begin, end) in enumerate(zip(offsets[:-1].tolist(), offsets[1:].tolist())):
        h = state[s]
        for t in range(begin, end):
            h = torch.exp(dt[t] * A)[:, None, None] * h + (dt[t, :, None] * x[t])[:, :, None] * B[t, :, None, :]
            ys.append((h @ C[t, :, :, None])[..., 0] + D[:, None] * x[t])
        finals.append(h)
    return torch.stack(ys), torch.stack(finals)


class Operators(unittest.TestCase):
    def setUp(self):
        torch.manual_seed(7)
        self.offsets = torch.tensor([0, 5, 5, 12])

    def scan_arguments(self, T=12, E=6, N=3, dtype=torch.float64):
        A = (-torch.rand(E, N, dtype=dtype)).requires_grad_()
        rows = [leaf(T, E, dtype=dtype), leaf(T, E, dtype=dtype), A, leaf(T, N, dtype=dtype), leaf(T, N, dtype=dtype)]
        return rows + [leaf(E, dtype=dtype), leaf(T, E, dtype=dtype), leaf(E, dtype=dtype), self.offsets,
                       leaf(3, E, N, dtype=dtype)]

    def check(self, name, arguments):
        for dtype in (torch.float64, torch.float32):
            cast = [a.detach().to(dtype).requires_grad_() if torch.is_tensor(a) and a.requires_grad else a
                    for a in arguments]
            torch.library.opcheck(getattr(torch.ops.dnamamba, name).default, tuple(cast), test_utils=CHECKS)

    def test_selective_scan_passes_opcheck(self):
        self.check("selective_scan", self.scan_arguments() + [True, False])
        self.check("selective_scan", self.scan_arguments() + [True, True])
        self.check("selective_scan", self.scan_arguments()[:5])

    def ssd_arguments(self, T=12, H=4, P=5, G=2, N=3):
        A = (-torch.rand(H, dtype=torch.float64)).requires_grad_()
        return [leaf(T, H, P), leaf(T, H), A, leaf(T, G, N), leaf(T, G, N), leaf(H), leaf(H), self.offsets,
                leaf(3, H, P, N), 0.3, 0.9]

    def test_ssd_passes_opcheck(self):
        self.check("ssd", self.ssd_arguments() + [True, False])
        self.check("ssd", self.ssd_arguments() + [True, True])
        self.check("ssd", self.ssd_arguments()[:5] + [leaf(4, 5)])

    def test_gated_rms_norm_passes_opcheck(self):
        self.check("gated_rms_norm", [leaf(12, 6), leaf(12, 6), leaf(6), 2, 1e-5, True])
        self.check("gated_rms_norm", [leaf(12, 6), leaf(12, 6), leaf(6)])

    def test_causal_conv1d_passes_opcheck(self):
        self.check("causal_conv1d", [leaf(12, 6), leaf(6, 4), leaf(6), self.offsets, leaf(3, 3, 6), True, True, False])
        self.check("causal_conv1d", [leaf(12, 6), leaf(6, 2)])

    def test_add_rms_norm_passes_opcheck(self):
        self.check("add_rms_norm", [leaf(12, 6), leaf(12, 6), leaf(6), leaf(6), 1e-5, True])
        self.check("add_rms_norm", [leaf(12, 6), None, leaf(6)])

    def test_token_loss_passes_opcheck(self):
        targets = torch.randint(0, 16, (12,), dtype=torch.uint8)
        self.check("token_loss", [leaf(12, 6), leaf(16, 6), targets, torch.rand(12)])
        self.check("token_loss", [leaf(12, 6), leaf(16, 6), targets])

    def test_embed_tokens_passes_opcheck(self):
        self.check("embed_tokens", [torch.randint(0, 16, (12,), dtype=torch.uint8), leaf(16, 6)])

    def check_equations(self, ours, plain, arguments, count):
        weights = [torch.randn_like(answer) for answer in plain]
        leaves = [a for a in arguments if torch.is_tensor(a) and a.requires_grad]
        self.assertEqual(len(leaves), count)
        for a, b in zip(ours, plain):
            torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12)
        gradients = [torch.autograd.grad(sum((w * a).sum() for w, a in zip(weights, answers)), leaves)
                     for answers in (ours, plain)]
        for a, b in zip(*gradients):
            torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12)

    def test_selective_scan_equals_its_equations_and_so_do_its_gradients(self):
        arguments = self.scan_arguments()
        ours = torch.ops.dnamamba.selective_scan(*arguments, True, False)
        self.check_equations(ours, plain_scan(*arguments), arguments, 9)

    def test_ssd_equals_its_equations_and_so_do_its_gradients(self):
        arguments = self.ssd_arguments()
        ours = torch.ops.dnamamba.ssd(*arguments, True, False)
        self.check_equations(ours, plain_ssd(*arguments), arguments, 8)

    def test_a_wrong_shape_is_an_error_in_python(self):
        with self.assertRaisesRegex(RuntimeError, "delta has shape"):
            arguments = self.scan_arguments()
            torch.ops.dnamamba.selective_scan(arguments[0], leaf(3, 3), *arguments[2:])


torch.ops.load_library(LIBRARY)
if __name__ == "__main__":
    unittest.main()
