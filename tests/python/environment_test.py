"""The torch of these tests runs beside stand-ins for the CUDA libraries: its answers are checked against numpy, and
Transformers' Mamba against itself, before anything of ours is compared with them."""

import unittest

import numpy
import torch
from transformers import MambaConfig, MambaForCausalLM


class Environment(unittest.TestCase):
    def setUp(self):
        torch.manual_seed(7)

    def test_there_is_no_gpu_to_be_used_by_mistake(self):
        self.assertFalse(torch.cuda.is_available())

    def test_matrix_products_and_their_gradients_equal_numpys(self):
        x = torch.randn(33, 17, dtype=torch.float64, requires_grad=True)
        w = torch.randn(17, 9, dtype=torch.float64)
        y = x @ w
        y.square().sum().backward()
        a, b = x.detach().numpy(), w.numpy()
        numpy.testing.assert_allclose(y.detach().numpy(), a @ b, rtol=1e-12, atol=1e-12)
        numpy.testing.assert_allclose(x.grad.numpy(), 2 * a @ b @ b.T, rtol=1e-12, atol=1e-12)

    def test_a_depthwise_convolution_equals_its_sum(self):
        x = torch.randn(1, 5, 40, dtype=torch.float64)
        w = torch.randn(5, 1, 4, dtype=torch.float64)
        y = torch.nn.functional.conv1d(x, w, groups=5).numpy()[0]
        expected = sum(w.numpy()[:, 0, k, None] * x.numpy()[0, :, k : k + 37] for k in range(4))
        numpy.testing.assert_allclose(y, expected, rtol=1e-12, atol=1e-12)

    @torch.no_grad()
    def test_mamba_of_transformers_is_causal_and_carries_its_state(self):
        model = MambaForCausalLM(MambaConfig(vocab_size=16, hidden_size=24, state_size=8, num_hidden_layers=2)).eval()
        ids = torch.randint(0, 16, (2, 31))
        whole = model(ids).logits
        torch.testing.assert_close(model(ids[:, :20]).logits, whole[:, :20], rtol=1e-4, atol=1e-5)
        first = model(ids[:, :30], use_cache=True)
        last = model(ids[:, 30:], cache_params=first.cache_params, use_cache=True)
        torch.testing.assert_close(last.logits[:, 0], whole[:, 30], rtol=1e-4, atol=1e-5)


if __name__ == "__main__":
    unittest.main()
